"""A bundle's folder: every method comes back as it was; what is damaged, tampered with or unknown is refused."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bundle.made import bundle_of, episode_of, glyphs_run, labels_of, subject_of, toy
from quickstudy import Bundle, ProtoNet, registry
from quickstudy.bundle.calibration import Calibration
from quickstudy.bundle.folder import CARD, MANIFEST, WEIGHTS
from quickstudy.bundle.manifest import render, seal_of, version_of
from quickstudy.core import files
from quickstudy.encoders import ImageEncoder, VectorEncoder
from quickstudy.errors import BundleError
from quickstudy.evaluate.novelty import Detector
from quickstudy.nets import MLP

FULL = "No space left on device"


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_method_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    subject = subject_of(name)
    bundle = bundle_of(subject)
    bundle.save(tmp_path / "b")
    again = Bundle.load(tmp_path / "b")
    assert (again.version, again.ways, again.item) == (bundle.version, bundle.ways, bundle.item)
    assert type(again.method) is type(bundle.method)
    episode = episode_of(subject)
    one, other = (
        each.predict(each.adapt(episode.support.x, labels_of(episode)), episode.query.x) for each in (bundle, again)
    )
    assert type(one) is type(other)
    assert torch.equal(one.mean, other.mean)


def test_nothing_is_lost(tmp_path: Path) -> None:
    found = (Calibration(5, 1, Detector("energy over support", -1.5e-05, 0.75), 1.3),)
    provenance = {"evaluation": None, "training": {"step": 3, "rate": 1e-05}, "data": "0123456789abcdef"}
    labels = [
        "α",
        "no",
        "1e3",
        "2026-01-01",
        "- x: &y",
        "null",
        "a\nb",
        "\u0085",
        " x ",
        "\u2028y",
        "\U0001f600",
        "\x07",
    ]
    bundle, _ = toy("maml", calibrations=found, provenance=provenance, labels=labels, licence="Apache-2.0")
    bundle.save(tmp_path / "b")
    again = Bundle.load(tmp_path / "b")
    for name in ("name", "outputs", "likelihood", "parts", "calibrations", "provenance", "licence", "encoder"):
        assert getattr(again, name) == getattr(bundle, name), name
    assert again.labels == tuple(labels)
    again.save(tmp_path / "c")
    for file in (MANIFEST, WEIGHTS, CARD):
        assert (tmp_path / "b" / file).read_bytes() == (tmp_path / "c" / file).read_bytes()


def test_the_version_is_of_what_answers_depend_on() -> None:
    first, _ = toy("protonet")
    renamed, _ = toy("protonet", licence="MIT", labels=["a"])
    assert first.version == renamed.version
    assert len(first.version) == 12
    moved, _ = toy("protonet")
    with torch.no_grad():
        next(iter(moved.method.parameters()))[0, 0] += 1e-6
    assert moved.version != first.version
    other, _ = toy("protonet")
    assert other.parts is not None
    cold = Bundle(
        other.method, ImageEncoder(item=(1, 4, 4)), outputs=5, parts=other.parts
    )  # the same weights behind another encoder answer otherwise
    assert cold.version != first.version


def test_a_run_is_a_bundle(tmp_path: Path) -> None:
    run = glyphs_run(tmp_path / "run")
    bundle = Bundle.open(tmp_path / "run")
    assert bundle.name == "run"
    assert isinstance(bundle.encoder, ImageEncoder)
    assert bundle.encoder.invert == "paper"  # bright strokes on dark ground
    assert bundle.provenance["data"] == run.episodes
    assert bundle.labels
    bundle.save(tmp_path / "b")
    again = Bundle.open(tmp_path / "b")
    assert again.version == bundle.version
    assert not (tmp_path / "run" / "calibration.json").exists()  # nothing is calibrated unless asked for
    x = torch.rand(4, 1, 28, 28)
    said = [each.predict(each.adapt(x, [0, 1, 0, 1]), x).mean for each in (bundle, again)]
    assert torch.equal(*said)


def test_thresholds_come_along(tmp_path: Path) -> None:
    run = glyphs_run(tmp_path / "run")
    bundle = Bundle.of_run(run, sizes=[(2, 1), (5, 1), (10**6, 1)])
    assert [(each.ways, each.shots) for each in bundle.calibrations][:2] == [(2, 1), (5, 1)]
    bundle.save(tmp_path / "b")
    again = Bundle.load(tmp_path / "b")
    assert again.calibrations == bundle.calibrations
    x = torch.rand(4, 1, 28, 28)
    learner = again.adapt(x, [0, 1, 0, 1])
    margins = again.margins(learner, again.predict(learner, x))
    assert margins is not None
    assert margins.shape == (4,)
    bare = Bundle.of_run(run)
    assert bare.margins(bare.adapt(x, [0, 1, 0, 1]), again.predict(learner, x)) is None


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bundle, _ = toy("protonet")
    bundle.save(tmp_path / "b")
    return tmp_path / "b"


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(BundleError) as told:
        Bundle.load(folder)
    for word in words:
        assert word in str(told.value)


def entries_of(folder: Path) -> dict[str, Any]:
    entries: dict[str, Any] = yaml.safe_load((folder / MANIFEST).read_text())
    return entries


def reseal(folder: Path, **changes: Any) -> None:
    """Change entries as somebody would who knows how seals are made; None takes an entry away."""
    entries = entries_of(folder) | changes
    entries = {name: value for name, value in entries.items() if value is not ...}
    if "version" not in changes:
        entries["version"] = version_of(entries)
    (folder / MANIFEST).write_text(render({name: value for name, value in entries.items() if name != "seal"}))


def test_a_byte_of_the_weights(saved: Path) -> None:
    content = bytearray((saved / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (saved / WEIGHTS).write_bytes(content)
    refused(saved, "missing or damaged", "SHA-256", "get it anew")


def test_weights_cut_short_or_gone(saved: Path) -> None:
    content = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(content[:-10])
    refused(saved, "missing or damaged")
    (saved / WEIGHTS).unlink()
    refused(saved, "missing or damaged")
    os.mkfifo(saved / WEIGHTS)  # would wait for ever
    refused(saved, "missing or damaged")


@pytest.mark.parametrize("entry", ["name", "version", "licence", "outputs", "sha256", "likelihood", "seal"])
def test_an_entry_changed_by_hand(saved: Path, entry: str) -> None:
    entries = entries_of(saved)
    entries[entry] = 9 if entry == "outputs" else f"{entries[entry]}x"
    (saved / MANIFEST).write_text(yaml.safe_dump(entries))
    refused(saved, "was changed after it was written")


def test_a_version_that_is_not_its_own(saved: Path) -> None:
    reseal(saved, version="0" * 12)
    refused(saved, "was changed after it was written")


def test_weights_of_another_method(saved: Path, tmp_path: Path) -> None:
    bundle, _ = toy("maml")
    bundle.save(tmp_path / "other")
    other = entries_of(tmp_path / "other")
    shutil.copy(tmp_path / "other" / WEIGHTS, saved / WEIGHTS)
    reseal(saved, bytes=other["bytes"], sha256=other["sha256"])
    refused(saved, "cannot be built from its settings and weights")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2; this quickstudy reads format 1"),
        ({"format": "1"}, "has format '1'"),
        ({"colour": "red"}, "has no setting 'colour'"),
        ({"labels": ...}, "needs the setting 'labels'"),
        ({"method": {"name": "protonett"}}, "did you mean 'protonet'"),
        ({"method": {"name": "protonet", "distances": "cosine"}}, "did you mean 'distance'"),
        ({"method": {"name": "protonet", "distance": "manhattan"}}, "distance"),
        ({"method": {"name": "subprocess:Popen", "shell": True}}, "is no MetaLearner"),
        ({"method": {"name": "os:system"}}, "expected a class"),
        ({"method": {"name": "nowhere.at_all:Method"}}, "cannot be imported"),
        ({"method": ["protonet"]}, "has no name"),
        ({"net": {"name": "pathlib:Path"}}, "is no Module"),
        ({"encoder": {"name": "protonet"}}, "no encoder named 'protonet'"),
        ({"encoder": {"name": "quickstudy.nets.mlp:MLP"}}, "is no Encoder"),
        ({"item": [0]}, "item"),
        ({"outputs": -1}, "outputs"),
        ({"sha256": "../../etc/passwd"}, "sha256"),
        ({"novelty": [{"ways": 5}]}, "needs the setting"),
        ({"name": {"a": 1}}, "name"),
    ],
)
def test_entries_that_are_not_understood(saved: Path, changes: dict[str, Any], message: str) -> None:
    reseal(saved, **changes)
    refused(saved, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no list of named entries"),
        ("- 1\n", "no list of named entries"),
        ("1: 2\n", "no list of named entries"),
        ("a: [1\n", "cannot be read"),
        ("\x00", "cannot be read"),
        ("a: &x [1]\nb: [*x, *x]\n", "YAML aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", "cannot be read"),
        ("format: 1\n", "was changed after it was written"),
        ("[" * 3000, "cannot be read"),
    ],
)
def test_text_that_is_no_manifest(saved: Path, text: str, message: str) -> None:
    (saved / MANIFEST).write_text(text)
    refused(saved, message)


def test_a_manifest_far_too_large(saved: Path) -> None:
    (saved / MANIFEST).write_text("a: " + "x" * 5_000_000)
    refused(saved, "4194304 are the most")


def test_folders_without_a_bundle(tmp_path: Path) -> None:
    refused(tmp_path / "none", "holds no bundle")
    with pytest.raises(BundleError, match="neither a bundle nor a run"):
        Bundle.open(tmp_path)


def test_a_method_at_hand_tells_what_it_is_built_of(tmp_path: Path) -> None:
    bundle, _ = toy("maml")
    bare = Bundle(bundle.method, bundle.encoder, outputs=5)
    assert bare.version == bundle.version
    bare.save(tmp_path / "b")
    assert Bundle.load(tmp_path / "b").version == bundle.version


def test_a_method_without_settings_is_used_but_not_saved(tmp_path: Path) -> None:
    net = torch.nn.Linear(16, 8)
    net.features = 8  # type: ignore[assignment]
    bare = Bundle(ProtoNet(net), VectorEncoder(item=(16,)), outputs=5)
    bare.adapt(torch.zeros(2, 16), [0, 1])
    with pytest.raises(BundleError, match="not built of settings"):
        bare.save(tmp_path / "b")
    assert not (tmp_path / "b").exists()


# --- written whole or not at all --------------------------------------------------------------------------------------


def test_nothing_is_written_over_what_stands_there(saved: Path, tmp_path: Path) -> None:
    bundle, _ = toy("maml")
    with pytest.raises(BundleError, match="holds a bundle already"):
        bundle.save(saved)
    bundle.save(saved, replace=True)
    assert Bundle.load(saved).version == bundle.version
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="something other than a bundle"):
        bundle.save(tmp_path / "mine", replace=True)
    with pytest.raises(BundleError, match="something other than a bundle"):
        bundle.save(tmp_path / "mine" / "thesis.tex", replace=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    bundle.save(tmp_path / "empty")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b", "empty", "mine"]


@pytest.mark.parametrize("file", [WEIGHTS, CARD, MANIFEST])
def test_a_full_disk_leaves_what_was_there(saved: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {each.name: each.read_bytes() for each in saved.iterdir()}
    bundle, _ = toy("maml")
    whole = files.write

    def full(path: Path, content: str | bytes) -> None:
        if path.name == file:
            raise OSError(28, FULL)
        whole(path, content)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(BundleError, match=f"cannot be written: {FULL}"):
        bundle.save(saved, replace=True)
    assert {each.name: each.read_bytes() for each in saved.iterdir()} == before
    assert [each.name for each in saved.parent.iterdir()] == ["b"]


def test_an_interrupted_replacement_puts_the_old_one_back(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, _ = toy("maml")
    version = Bundle.load(saved).version
    rename = Path.rename

    def stopped(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        bundle.save(saved, replace=True)
    assert Bundle.load(saved).version == version
    assert [each.name for each in saved.parent.iterdir()] == ["b"]


class Net(MLP):
    """A net of the user's own."""


def test_classes_of_ones_own_by_their_address(tmp_path: Path) -> None:
    subject = subject_of("protonet")
    bundle = bundle_of(subject)
    assert bundle.parts is not None
    assert entries_after(bundle, tmp_path)["net"]["name"] == "mlp"
    own = dataclasses.replace(
        bundle.parts,
        net=Net.Settings(
            **{field.name: getattr(bundle.parts.net, field.name) for field in dataclasses.fields(bundle.parts.net)}
        ),
    )
    method = own.build()
    made = Bundle(method, bundle.encoder, outputs=5, parts=own)
    address = entries_after(made, tmp_path, "own")["net"]["name"]
    assert address.endswith(":Net")
    assert isinstance(Bundle.load(tmp_path / "own").method.net, Net)


def entries_after(bundle: Bundle, folder: Path, name: str = "b") -> dict[str, Any]:
    bundle.save(folder / name)
    return entries_of(folder / name)


def test_what_cannot_be_found_again_is_not_saved(tmp_path: Path) -> None:
    class Local(MLP):
        """A net that no address leads to."""

    bundle, _ = toy("protonet")
    assert bundle.parts is not None
    local = dataclasses.replace(bundle.parts, net=Local.Settings(hidden=[16]))
    with pytest.raises(BundleError, match="cannot be imported"):
        Bundle(local.build(), bundle.encoder, outputs=5, parts=local).save(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


# --- the card ---------------------------------------------------------------------------------------------------------


def test_the_card_says_what_it_is(tmp_path: Path) -> None:
    evaluation = {
        "metric": "accuracy", "mean": 0.98765, "low": 0.98, "high": 0.99, "ways": 5, "shots": 1, "episodes": 600,
        "split": "test", "digest": "00ff", "queries": 15, "seed": 0,
    }  # fmt: skip
    provenance = {"evaluation": evaluation, "tasks": {"name": "glyphs"}, "training": {"step": 10}, "data": "77"}
    bundle, _ = toy("maml", provenance=provenance, labels=["a"], licence="Apache-2.0")
    bundle.name = "my <b>model</b> | x"
    bundle.save(tmp_path / "b")
    text = (tmp_path / "b" / CARD).read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "quickstudy"
    assert "accuracy 0.9877 (95% interval 0.9800 to 0.9900) over 600 5-way 1-shot test tasks" in text
    assert "up to 5 new classes" in text
    assert "<b>" not in text
    assert bundle.version in text
    assert "ways=2" in text


def test_the_card_of_real_values_shows_how_values_are_learned(tmp_path: Path) -> None:
    bundle_of(subject_of("maml", "gaussian")).save(tmp_path / "b")
    text = (tmp_path / "b" / CARD).read_text()
    assert "learns a function" in text
    assert "bundle.adapt(x, [0.3, 1.2, -0.7, 0.1])" in text
    assert "ways" not in text


def test_seals_are_of_every_entry() -> None:
    assert seal_of({"a": 1, "seal": "x"}) == seal_of({"a": 1})
    assert seal_of({"a": 1}) != seal_of({"a": 1.5})
    assert seal_of({"a": 1, "b": 2}) == seal_of({"b": 2, "a": 1})
