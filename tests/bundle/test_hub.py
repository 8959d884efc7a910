"""Push and pull against a hub on this machine, through the real client: what it sends and expects is its own business.

The hub's HTTP is played by `fake_hub`, not its Python API, so that an update of huggingface_hub that asks otherwise
fails here and not at a user's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bundle.fake_hub import TOKEN, Hub, running
from bundle.made import toy
from quickstudy import Bundle
from quickstudy.bundle.folder import CARD, MANIFEST, WEIGHTS
from quickstudy.bundle.hub import pull, push
from quickstudy.bundle.manifest import LARGEST, render, version_of
from quickstudy.errors import BundleError

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra hub is not installed")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # this hub is on this machine
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running() as hub:
        yield hub


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bundle, _ = toy("protonet", licence="MIT")
    bundle.save(tmp_path / "toy")
    (tmp_path / "toy" / "secret.txt").write_text("not part of the bundle")
    return tmp_path / "toy"


def test_there_and_back(hub: Hub, saved: Path, tmp_path: Path) -> None:
    done = push(saved, "me/toy", endpoint=hub.url)
    assert hub.private == {"me/toy": True}
    assert hub.repositories["me/toy"][-1][0] == done.commit
    assert len(hub.repositories["me/toy"]) == 2  # that which makes it, and one with everything
    files = hub.repositories["me/toy"][-1][1]
    assert files.keys() == {".gitattributes", MANIFEST, WEIGHTS, CARD}
    assert files[WEIGHTS] == (saved / WEIGHTS).read_bytes()

    found = pull("me/toy", tmp_path / "again", endpoint=hub.url)
    assert found.version == Bundle.load(saved).version == Bundle.load(tmp_path / "again").version
    assert sorted(each.name for each in (tmp_path / "again").iterdir()) == sorted([MANIFEST, WEIGHTS, CARD])
    assert sorted(hub.fetched) == sorted([MANIFEST, WEIGHTS, CARD])


def test_a_commit_is_what_it_was(hub: Hub, saved: Path, tmp_path: Path) -> None:
    first = push(saved, "me/toy", endpoint=hub.url)
    other, _ = toy("maml")
    other.save(saved, replace=True)
    second = push(saved, "me/toy", private=False, endpoint=hub.url)
    assert first.commit != second.commit
    assert pull("me/toy", tmp_path / "new", endpoint=hub.url).version == other.version
    old = pull("me/toy", tmp_path / "old", revision=first.commit, endpoint=hub.url)
    assert old.version != other.version
    with pytest.raises(BundleError, match="holds a bundle already"):
        pull("me/toy", tmp_path / "old", endpoint=hub.url)
    assert pull("me/toy", tmp_path / "old", replace=True, endpoint=hub.url).version == other.version


def nothing_came(folder: Path, hub: Hub, message: str, name: str = "me/toy") -> None:
    with pytest.raises(BundleError, match=message):
        pull(name, folder / "out", endpoint=hub.url)
    assert sorted(each.name for each in folder.iterdir()) == ["toy"]


def test_damage_on_the_way(hub: Hub, saved: Path, tmp_path: Path) -> None:
    push(saved, "me/toy", endpoint=hub.url)
    content = bytearray((saved / WEIGHTS).read_bytes())
    content[-1] ^= 1
    hub.commit("me/toy", {WEIGHTS: bytes(content)})
    nothing_came(tmp_path, hub, "missing or damaged")


def test_what_is_no_bundle(hub: Hub, saved: Path, tmp_path: Path) -> None:
    hub.commit("me/other", {"model.safetensors": b"", "pytorch_model.bin": b""})
    nothing_came(tmp_path, hub, "me/other holds no bundle", "me/other")
    nothing_came(tmp_path, hub, "the hub did not do as asked with 'me/none'", "me/none")
    nothing_came(tmp_path, hub, "did not do as asked", "not/a/name")
    hub.commit("me/large", {MANIFEST: b"x" * (LARGEST + 1), WEIGHTS: b""})
    nothing_came(tmp_path, hub, f"bytes, where {LARGEST} are the most", "me/large")
    assert hub.fetched == []


def test_code_of_others_is_not_imported(hub: Hub, saved: Path, tmp_path: Path) -> None:
    entries = yaml.safe_load((saved / MANIFEST).read_text())
    changed = {name: value for name, value in entries.items() if name != "seal"}
    changed["method"] = {"name": "maml", "rule": {"name": "antigravity:Fly"}}
    changed["version"] = version_of(changed)
    hub.commit("me/toy", {MANIFEST: render(changed).encode(), WEIGHTS: (saved / WEIGHTS).read_bytes()})
    nothing_came(tmp_path, hub, "names the class 'antigravity:Fly', which is not quickstudy's")
    assert "antigravity" not in sys.modules
    changed |= {"method": {"name": "nowhere.at_all:Method"}}
    changed["version"] = version_of(changed)
    hub.commit("me/toy", {MANIFEST: render(changed).encode()})
    with pytest.raises(BundleError, match="cannot be imported: No module named 'nowhere'"):
        pull("me/toy", tmp_path / "out", own_code=True, endpoint=hub.url)


def test_who_may_not_write(hub: Hub, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(BundleError, match=r"did not do as asked with 'me/toy': .*401"):
        push(saved, "me/toy", endpoint=hub.url)
    assert hub.repositories == {}


def test_a_damaged_bundle_is_not_pushed(hub: Hub, saved: Path) -> None:
    (saved / WEIGHTS).write_bytes(b"")
    with pytest.raises(BundleError, match="missing or damaged"):
        push(saved, "me/toy", endpoint=hub.url)
    assert hub.repositories == {}


def test_no_hub(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BundleError, match="the hub did not do as asked"):
        pull("me/toy", tmp_path / "out", endpoint="http://127.0.0.1:9")
