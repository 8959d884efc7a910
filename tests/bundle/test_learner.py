"""A learner as bytes: the same learner again, and a refusal of anything else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from bundle.made import bundle_of, episode_of, labels_of, subject_of
from quickstudy import registry
from quickstudy.bundle.learner import Cutoff, Learner
from quickstudy.core import tree
from quickstudy.errors import BundleError


@pytest.mark.parametrize("name", registry.METHODS)
def test_bytes_hold_every_method_s_learner(name: str) -> None:
    subject = subject_of(name)
    bundle = bundle_of(subject)
    episode = episode_of(subject)
    learner = bundle.adapt(episode.support.x, labels_of(episode))
    again = Learner.from_bytes(learner.to_bytes())
    assert (again.ways, again.version, again.cutoff) == (learner.ways, learner.version, learner.cutoff)
    (first, form), (second, again_form) = tree.flatten(learner.state), tree.flatten(again.state)
    assert form == again_form
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(first, second, strict=True))
    assert again.nbytes == learner.nbytes == sum(leaf.numel() * leaf.element_size() for leaf in first)
    one, other = (bundle.predict(each, episode.query.x).mean for each in (learner, again))
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["dkt", "metaoptnet", "rfs", "leo"])
def test_bytes_of_learners_made_together(name: str) -> None:
    """However a mapped call leaves its matrices in memory, what is read back answers with the same bits."""
    subject = subject_of(name, "categorical")
    bundle = bundle_of(subject)
    episodes = [episode_of(subject, number) for number in range(3)]
    for made, episode in zip(
        bundle.adapt_many([(e.support.x, labels_of(e), None) for e in episodes]), episodes, strict=True
    ):
        again = Learner.from_bytes(made.to_bytes())
        assert torch.equal(bundle.predict(made, episode.query.x).mean, bundle.predict(again, episode.query.x).mean)


def learner(state: Any = None) -> Learner:
    state = {"a": torch.ones(2), "b": [torch.zeros(1, dtype=torch.bool), ()]} if state is None else state
    return Learner(state, 3, "0123456789ab", Cutoff("energy", -1.25), 1.5)


def test_bytes_of_equal_learners_are_equal() -> None:
    assert learner().to_bytes() == learner().to_bytes()


def test_shared_memory_is_no_obstacle() -> None:
    base = torch.arange(6.0)
    again = Learner.from_bytes(learner((base, base[2:], base.view(2, 3).T)).to_bytes())
    assert torch.equal(again.state[1], base[2:])
    assert torch.equal(again.state[2], base.view(2, 3).T)


def test_a_learner_from_before_there_were_temperatures_has_none() -> None:
    content = learner().to_bytes()
    size = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["learner"])
    assert told.pop("temperature") == 1.5
    kept = safetensors.torch.load(content)
    assert Learner.from_bytes(safetensors.torch.save(kept, {"learner": json.dumps(told)})).temperature == 1.0


def test_only_tensors() -> None:
    with pytest.raises(BundleError, match="a learner holds float; expected a tree of tensors"):
        learner({"rate": 0.1}).to_bytes()


def changed(**notes: Any) -> bytes:
    """The bytes of a learner whose notes say something else."""
    content = learner().to_bytes()
    size = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["learner"]) | notes
    kept = safetensors.torch.load(content)
    return safetensors.torch.save(kept, {"learner": json.dumps(told)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too few for their header"),
        (b"\xff" * 64, "too few for their header"),
        (learner().to_bytes()[:-1], "not a whole learner"),
        (learner().to_bytes() + b"0", "not a whole learner"),
        (safetensors.torch.save({"0": torch.ones(1)}), "__metadata__"),
        (changed(format=2), "format 2, where this quickstudy reads format 1"),
        (changed(temperature=0.0), "a temperature of 0.0"),
        (changed(extra=1), r"unknown entries \['extra'\]"),
        (changed(state=0), "tensors that have no place"),
        (changed(state={"tuple": [0, 0]}), "KeyError"),
        (changed(state={"tuple": [0, 5]}), "KeyError"),
        (changed(state={"tuple": [0, "1"]}), "a form that no learner has"),
        (changed(state={"os:system": [0, 1]}), "no NamedTuple os:system is loaded"),
        (changed(state={"nowhere.at_all:Thing": [0, 1]}), "no NamedTuple nowhere.at_all:Thing is loaded"),
        (changed(state={"quickstudy.core.episode:Examples": [0, 1]}), "TypeError"),
        (changed(state={"os.path:join.x": [0, 1]}), "is no address of a NamedTuple"),
    ],
)
def test_bytes_that_are_no_learner(content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Learner.from_bytes(content)


def test_deep_trees_are_refused() -> None:
    text = '{"tuple":[' * 5000 + "0" + "]}" * 5000
    kept = safetensors.torch.load(learner().to_bytes())
    notes = '{"format":1,"version":"x","ways":1,"cutoff":null,"state":' + text + "}"
    with pytest.raises(BundleError):
        Learner.from_bytes(safetensors.torch.save(kept, {"learner": notes}))


@given(st.binary(max_size=400), st.integers(0, 10_000))
def test_no_bytes_do_harm(noise: bytes, at: int) -> None:
    """Bytes of chance, alone and in the place of a learner's, are a learner or a `BundleError`: nothing else."""
    whole = learner().to_bytes()
    start = at % len(whole)
    for content in (noise, whole[:start] + noise + whole[start + len(noise) :]):
        with contextlib.suppress(BundleError):
            assert isinstance(Learner.from_bytes(content), Learner)
