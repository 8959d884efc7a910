"""New versions of models while the server runs: loaded beside the old, followed by learners, never half."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quickstudy.bundle import Bundle
from serve.asking import TWO, Running, bundle, row

for needed in ("fastapi", "uvicorn", "sqlalchemy", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")

QUERY = row(0.5, 1.5, -0.5)
OLD, NEW = bundle(seed=0), bundle(seed=1)


def until(holds: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (found := holds()):
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.01)
    return found


def replaced(server: Running, new: Bundle) -> None:
    place = server.folder / "bundles" / new.name
    if not (place / "bundle.yaml").exists():
        shutil.rmtree(place)
    new.save(place, replace=True)


def reload(server: Running, name: str = "vector") -> Any:
    return server.ask("POST", f"/v1/models/{name}/reload")


def version_of(server: Running, id: str) -> str:
    return str(server.ask("GET", f"/v1/learners/{id}").body["version"])


def test_the_bundles_of_these_tests_differ() -> None:
    assert OLD.version != NEW.version


def test_a_new_version_makes_new_learners_and_old_ones_stay(serve: Any) -> None:
    server = serve(readapt=False)
    old = server.create(TWO)
    before = server.predict(old["id"], QUERY)
    replaced(server, NEW)
    answer = reload(server)
    assert answer.body == {"model": "vector", "version": NEW.version, "previous": OLD.version, "changed": True}
    assert server.ask("GET", "/v1/models/vector").body["version"] == NEW.version
    new = server.create(TWO)
    assert (new["version"], version_of(server, old["id"])) == (NEW.version, OLD.version)
    assert server.ask("GET", f"/v1/learners/{old['id']}").body["newest"] is False
    assert server.predict(old["id"], QUERY) == before
    assert server.predict(new["id"], QUERY) != before
    grown = server.ask("POST", f"/v1/learners/{old['id']}/examples", {"examples": TWO})
    assert (grown.status, grown.body["version"]) == (200, OLD.version)


def test_old_versions_outlive_a_restart(serve: Any) -> None:
    server = serve(readapt=False)
    old = server.create(TWO)
    before = server.predict(old["id"], QUERY)
    replaced(server, NEW)
    server.stop()
    server.start()
    assert server.ask("GET", "/readyz").body["models"] == {"vector": NEW.version}
    assert server.predict(old["id"], QUERY) == before


def test_learners_follow_from_their_kept_examples(serve: Any) -> None:
    server = serve()
    kept = [server.create(TWO)["id"] for _ in range(3)]
    forgotten = server.create(TWO, keep=False)["id"]
    replaced(server, NEW)
    reload(server)
    until(lambda: all(version_of(server, id) == NEW.version for id in kept))
    fresh = server.create(TWO)["id"]
    for id in kept:
        assert server.predict(id, QUERY) == server.predict(fresh, QUERY)
        assert server.ask("GET", f"/v1/learners/{id}").body["classes"] == [
            {"name": "high", "examples": 2},
            {"name": "low", "examples": 1},
        ]
    assert version_of(server, forgotten) == OLD.version
    assert server.ask("POST", f"/v1/learners/{forgotten}/readapt").code == "forgotten"
    assert len(server.predict(forgotten, QUERY)) == 1


def test_following_goes_on_after_a_restart(serve: Any) -> None:
    server = serve(readapt=False)
    id = server.create(TWO)["id"]
    replaced(server, NEW)
    server.stop()
    server.settings = type(server.settings)(**{**vars(server.settings), "readapt": True})
    server.start()
    until(lambda: version_of(server, id) == NEW.version)


def test_a_learner_follows_when_asked_to(serve: Any) -> None:
    server = serve(readapt=False)
    id = server.create(TWO)["id"]
    same = server.ask("POST", f"/v1/learners/{id}/readapt").body
    assert same["version"] == OLD.version
    replaced(server, NEW)
    reload(server)
    followed = server.ask("POST", f"/v1/learners/{id}/readapt").body
    assert (followed["version"], followed["newest"]) == (NEW.version, True)
    assert server.predict(id, QUERY) == server.predict(server.create(TWO)["id"], QUERY)


def test_folders_are_watched(serve: Any) -> None:
    server = serve(watch=0.05)
    replaced(server, NEW)
    until(lambda: server.ask("GET", "/readyz").body["models"] == {"vector": NEW.version})


DAMAGES: dict[str, Callable[[Path], None]] = {
    "weights cut off": lambda at: (at / "weights.safetensors").write_bytes(b"\0" * 100),
    "weights gone": lambda at: (at / "weights.safetensors").unlink(),
    "manifest no YAML": lambda at: (at / "bundle.yaml").write_text("]["),  # type: ignore[func-returns-value]
    "another name": lambda at: bundle(seed=1, name="another").save(at, replace=True),
    "real values": lambda at: bundle(method="maml", seed=1, name="vector", likelihood="gaussian").save(
        at, replace=True
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_new_version_leaves_the_old_serving(serve: Any, damage: str) -> None:
    server = serve()
    learner = server.create(TWO)
    before = server.predict(learner["id"], QUERY)
    DAMAGES[damage](server.folder / "bundles" / "vector")
    assert (reload(server).status, reload(server).code) == (409, "damaged_bundle")
    ready = server.ask("GET", "/readyz")
    assert (ready.status, ready.body["models"]) == (200, {"vector": OLD.version})
    assert "goes on serving" in ready.body["problems"][0]
    assert server.predict(learner["id"], QUERY) == before
    assert server.create(TWO)["version"] == OLD.version
    if damage != "another name":  # which is a sound bundle of a model that was not served before
        server.stop()
        server.start()  # from the copy of what served last
        assert server.predict(learner["id"], QUERY) == before
        assert server.ask("GET", "/readyz").body["problems"]
    replaced(server, NEW)
    assert reload(server).body["version"] == NEW.version
    assert server.ask("GET", "/readyz").body["problems"] == []


def test_a_server_that_never_had_a_sound_bundle_does_not_start(tmp_path: Path) -> None:
    from quickstudy.errors import BundleError

    server = Running(tmp_path, OLD)
    (tmp_path / "bundles" / "vector" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(BundleError):
        server.start()


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    from quickstudy.errors import SettingsError

    server = Running(tmp_path, OLD)
    NEW.save(tmp_path / "other")
    both = (*server.settings.bundles, str(tmp_path / "other"))
    server.settings = type(server.settings)(**{**vars(server.settings), "bundles": both})
    with pytest.raises(SettingsError, match="both called 'vector'"):
        server.start()


def test_a_model_swapped_under_load_drops_no_request(serve: Any) -> None:
    server = serve(watch=0.05)
    stop = threading.Event()
    ids = [server.create(TWO)["id"] for _ in range(4)]
    found: list[int] = []

    def ask(id: str) -> None:
        while not stop.is_set():
            found.append(server.ask("POST", f"/v1/learners/{id}/predict", {"inputs": [QUERY]}).status)
            made = server.ask("POST", "/v1/learners", {"model": "vector", "examples": TWO, "keep": False})
            found.append(made.status)
            assert made.body["version"] in (OLD.version, NEW.version)

    threads = [threading.Thread(target=ask, args=(id,)) for id in ids]
    for each in threads:
        each.start()
    for version in (NEW, OLD, NEW):
        replaced(server, version)
        until(lambda wanted=version.version: server.ask("GET", "/readyz").body["models"]["vector"] == wanted)
    until(lambda: all(version_of(server, id) == NEW.version for id in ids))
    stop.set()
    for each in threads:
        each.join()
    assert set(found) == {200, 201}
