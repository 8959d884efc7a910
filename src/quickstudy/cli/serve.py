"""`quickstudy serve`: trained methods as a service over HTTP."""

from __future__ import annotations

import inspect
import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from quickstudy.cli import screen
from quickstudy.cli.flags import Flag, nest, parameter
from quickstudy.cli.keys import DATABASE
from quickstudy.core.extras import extra
from quickstudy.errors import QuickstudyError, SettingsError

__all__ = ["EXAMPLES", "command"]

EXAMPLES = """\
Each BUNDLE is a folder with a bundle, or that of a run. Without --keys the server is
open to whoever uses this machine, and to nobody else.

Examples:
  quickstudy serve runs/demo-glyphs
  quickstudy serve bundles/animals bundles/intents --port 9000
  quickstudy keys add alice && quickstudy serve bundles/animals --keys --host 0.0.0.0
  quickstudy serve bundles/animals --keys --workers 4 --db postgresql://serve@db/learners
  quickstudy serve bundles/animals --keys --ssl-certfile cert.pem --ssl-keyfile key.pem
"""

_DOC = """Serve trained methods over HTTP: learners made of a few examples, for many users at once.

The page at / teaches a model in the browser; /docs shows the interface. New versions of a bundle are loaded while the
server runs. Logs are lines of JSON on standard error. Interrupt it to stop: what was accepted is finished first.
"""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_SERVER = Group("Server", sort_key=1)
_TLS = Group("TLS and proxies, as uvicorn takes them", sort_key=2)
_WORK = Group("Models and work", sort_key=3)
_LIMITS = Group("Limits", sort_key=4)

_APART = ("bundles", "hosts", "keys", "limits", "db", "threads", "workers")
"""Settings that are no flags of their own here, or are among the fixed ones."""


def _fixed(name: str, annotation: Any, default: Any, group: Group, help: str, **more: Any) -> inspect.Parameter:
    told = "" if default in (None, False) else f" [default: {default}]"
    said = Parameter(help=help + told, group=group, negative="", show_default=False, **more)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, said]
    )


_FIXED = [
    inspect.Parameter(
        "bundles",
        inspect.Parameter.VAR_POSITIONAL,
        annotation=Annotated[Path, Parameter(name="BUNDLE", help="Folders of bundles, or of runs.")],
    ),
    _fixed("host", str, "127.0.0.1", _SERVER, "The address to listen on.", metavar="ADDRESS"),
    _fixed("port", int, 8000, _SERVER, "The port; 0 takes a free one.", metavar="INT"),
    _fixed("keys", bool, False, _SERVER, "Answer only requests with a key (quickstudy keys add TENANT)."),
    _fixed("db", str, DATABASE, _SERVER, "The database of learners and keys.", metavar="URL", env_var="QUICKSTUDY_DB"),
    _fixed("workers", int, 1, _SERVER, "Processes that serve together.", metavar="INT"),
    _fixed("threads", int | None, None, _SERVER, "Threads for torch; by default as many as processors look idle."),
    _fixed("ssl_certfile", Path | None, None, _TLS, "The certificate: the server then speaks HTTPS.", metavar="FILE"),
    _fixed("ssl_keyfile", Path | None, None, _TLS, "The certificate's key.", metavar="FILE"),
    _fixed("ssl_ca_certs", Path | None, None, _TLS, "Authorities for clients' certificates.", metavar="FILE"),
    _fixed("root_path", str, "", _TLS, "The path under which a proxy shows the server.", metavar="PATH"),
    _fixed("forwarded_allow_ips", str | None, None, _TLS, "Proxies whose X-Forwarded headers count.", metavar="IPS"),
]


def command(argv: Sequence[str]) -> Callable[..., int]:
    """The function behind `serve`; with every flag in its signature where `argv` is not empty."""
    flags = _flags() if argv else []

    def serve(*bundles: Path, **values: Any) -> int:
        defaults = {each.name: each.default for each in _FIXED if each.default is not each.empty}
        return _serve(bundles, nest(flags, values), {**defaults, **values})

    groups = {True: _LIMITS, False: _WORK}
    arguments = [*_FIXED, *(parameter(flag, groups[flag.path[0] == "limits"]) for flag in flags)]
    serve.__doc__ = _DOC
    serve.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    serve.__annotations__ = {argument.name: argument.annotation for argument in arguments}
    return serve


def _flags() -> list[Flag]:
    from quickstudy.core.settings import Setting
    from quickstudy.serve.settings import Limits, ServerSettings

    own = [Flag((each.name,), each.type, each.default, each.help) for each in Setting.all_of(ServerSettings)]
    limits = [Flag(("limits", each.name), each.type, each.default, each.help) for each in Setting.all_of(Limits)]
    return [flag for flag in own if flag.path[0] not in _APART] + limits


def _serve(bundles: Sequence[Path], chosen: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    uvicorn = extra("uvicorn", "serve")
    for module in ("fastapi", "sqlalchemy", "python_multipart", "prometheus_client"):
        extra(module, "serve")
    from quickstudy.serve import logs
    from quickstudy.serve.settings import Limits, ServerSettings

    host, port = values["host"], values["port"]
    if not bundles:
        raise SettingsError("got no bundle to serve; name a bundle's folder or a run's, such as runs/demo-glyphs.")
    if not values["keys"] and host not in LOOPBACK:
        raise SettingsError(
            f"--host {host} would open the server to everybody who reaches this machine. Make keys (quickstudy keys "
            "add TENANT) and add --keys, or leave --host out."
        )
    settings = ServerSettings(
        **{name: value for name, value in chosen.items() if name != "limits"},
        limits=Limits(**chosen.get("limits", {})),
        bundles=tuple(str(bundle) for bundle in bundles),
        db=values["db"],
        keys=values["keys"],
        workers=values["workers"],
        threads=values["threads"] or 0,
        hosts=() if values["keys"] else ("localhost", "127.0.0.1", "[::1]"),
    )
    if settings.calibration:
        _calibrate(bundles)
    listening = _listen(host, port)
    names = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs", "root_path", "forwarded_allow_ips")
    options: dict[str, Any] = {name: values[name] for name in names if values[name]}
    options |= {"access_log": False, "log_config": None, "server_header": False, "timeout_keep_alive": 20}
    options |= {"timeout_graceful_shutdown": int(settings.limits.upload + settings.limits.answer) + 1}
    logs.set_up()
    with listening:
        if settings.workers > 1:
            return _several(uvicorn, settings, options, listening)
        return _one(uvicorn, settings, options, listening)


def _calibrate(folders: Sequence[Path]) -> None:
    """Have the learners of runs know how sure to be and what belongs to no class: done once, for it is kept in the
    run's folder."""
    from quickstudy.bundle import Bundle
    from quickstudy.bundle.calibration import SIZES
    from quickstudy.cli.bundle import calibrate
    from quickstudy.train.run import Run

    for folder in folders:
        if Bundle.stands_in(folder) or not (folder / "run.yaml").exists():
            continue
        try:
            run = Run.open(folder)
            made = Bundle.of_run(run)
        except QuickstudyError:  # said when it is to be served, which a version from before may be
            continue
        if made.likelihood != "categorical":
            continue
        calibrate(made, run, SIZES)
        if not made.calibrations:
            screen.say(
                f"{folder} cannot say that an input belongs to none of the classes: there are no validation data for "
                "it here. Where they are, quickstudy bundle makes a folder that can."
            )


def _one(uvicorn: Any, settings: Any, options: dict[str, Any], listening: socket.socket) -> int:
    from quickstudy.serve.app import make_app

    app = make_app(settings)
    _say(settings, options, listening)
    uvicorn.Server(uvicorn.Config(app, **options)).run(sockets=[listening])
    return 0


def _several(uvicorn: Any, settings: Any, options: dict[str, Any], listening: socket.socket) -> int:
    """Several processes, which learn their settings from the environment; this one only watches over them."""
    from uvicorn.supervisors import Multiprocess

    from quickstudy.serve.app import ENVIRONMENT, prepare

    prepare(settings)
    os.environ[ENVIRONMENT] = settings.to_json()
    with tempfile.TemporaryDirectory(prefix="quickstudy-metrics-") as counted:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counted
        config = uvicorn.Config(
            "quickstudy.serve.app:from_environment", factory=True, workers=settings.workers, **options
        )
        _say(settings, options, listening)
        watched: Any = Multiprocess
        older = "target" in inspect.signature(watched).parameters
        target = {"target": uvicorn.Server(config).run} if older else {}
        watched(config, **target, sockets=[listening]).run()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error}. Choose another with --port, or stop what listens there."
        ) from error
    listening.set_inheritable(True)
    return listening


def _say(settings: Any, options: Mapping[str, Any], listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    scheme = "https" if "ssl_certfile" in options else "http"
    shown = f"[{host}]" if ":" in host else host
    screen.say(f"Serving at {scheme}://{shown}:{port}  (the interface: {scheme}://{shown}:{port}/docs)")
    if settings.keys:
        screen.say("Requests need a key: quickstudy keys add TENANT.")
    else:
        screen.say("Open to whoever uses this machine: all share one set of learners. --keys asks for keys.")
