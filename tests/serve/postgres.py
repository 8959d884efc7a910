"""A PostgreSQL server of one's own: in a temporary folder, on a Unix socket, gone with the tests."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Server", "missing", "running"]

USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root; one of these then owns the server


def _program(name: str) -> str | None:
    return shutil.which(name) or max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default=None)


def missing() -> str:
    """Why no server can be started here; "" where one can."""
    lacking = [name for name in ("initdb", "postgres") if _program(name) is None]
    if lacking:
        return f"PostgreSQL's {' and '.join(lacking)} not found: apt-get install postgresql"
    try:
        _owner()
    except KeyError:
        return "PostgreSQL does not run as root, and there is no user postgres or nobody"
    return ""


def _owner() -> pwd.struct_passwd | None:
    """Who runs the server where this process is root's."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise KeyError("no user for the server")


@contextmanager
def running(*settings: str) -> Iterator[Server]:
    """A server that answers; skips, with the reason, where none can be started."""
    pytest.importorskip("psycopg", reason="psycopg comes with the extra `postgres`")
    if reason := missing():
        pytest.skip(reason)
    with closing(Server(*settings)) as server:
        server.start()
        yield server


class Server:
    """One server with its data. Databases are made one by one and left to vanish with it."""

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="qs-pg-"))  # not below pytest's folder: a socket's path is short
        self._owner = _owner()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._settings = settings
        if self._owner is not None:
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        made = self._start("initdb", "-D", "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        assert made.wait() == 0, (self.folder / "log").read_text()

    def start(self) -> None:
        """Start it, and return when it answers."""
        words = [word for setting in self._settings for word in ("-c", setting)]
        sockets = str(self.folder)
        self._process = self._start("postgres", "-D", "data", "-k", sockets, "-c", "listen_addresses=", *words)
        until = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL does not start"
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT breaks connections off and leaves tidily; SIGQUIT is a crash that needs recovery."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def close(self) -> None:
        """Stop it and remove its data."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """The URL of a new, empty database: 8 MB on the disk, and a part of a second."""
        return f"postgresql://tester@/{self._new('DATABASE')}?host={self.folder}"

    def schema(self) -> str:
        """The URL of a new, empty schema in the one database there is: as good as a database, and quick."""
        return f"postgresql://tester@/postgres?host={self.folder}&options=-csearch_path%3D{self._new('SCHEMA')}"

    def _new(self, kind: str) -> str:
        """Make one, and give its name."""
        self._made += 1
        with self.connect() as connection:
            connection.execute(f"CREATE {kind} made_{self._made}")
        return f"made_{self._made}"

    def connect(self, database: str = "postgres") -> Any:
        """A connection of the tests' own, that commits by itself."""
        import psycopg

        return psycopg.connect(f"host={self.folder} user=tester dbname={database}", autocommit=True)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        as_owner: dict[str, Any] = {}
        if self._owner is not None:
            as_owner = {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                [str(_program(name)), *words],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                **as_owner,
            )
