"""Image encoders: tiny models with weights at random, beside plain use of transformers."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.core.settings import dump, load
from quickstudy.encoders.image import ImageEncoder
from quickstudy.encoders.vision import VisionEncoder
from quickstudy.errors import DataError

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra text)")


def save(folder, cls: str, config) -> str:
    torch.manual_seed(0)
    getattr(transformers, cls)(config).eval().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> str:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=16, patch_size=8
    )
    return save(tmp_path_factory.mktemp("vit"), "ViTModel", config)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> str:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    folder = tmp_path_factory.mktemp("resnet")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {"crop_size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.1]}
        )
    )
    return save(folder, "ResNetModel", config)


def pictures(count: int = 5) -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 256, size=(count, 20, 24, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_transformer(vit, pooling):
    encoder = VisionEncoder(model=vit, pooling=pooling, batch=2, normalise=False)
    found = encoder.encode(pictures())
    pixels = ImageEncoder(item=(3, 16, 16)).encode(pictures())
    net = transformers.ViTModel.from_pretrained(vit).eval()
    with torch.no_grad():
        said = net(pixel_values=2 * pixels - 1).last_hidden_state
    torch.testing.assert_close(found, said[:, 0] if pooling == "first" else said.mean(1), atol=1e-5, rtol=1e-4)
    assert encoder.item == (16,)
    assert not found.requires_grad
    unit = VisionEncoder(model=vit, pooling=pooling).encode(pictures())
    torch.testing.assert_close(unit, found / found.norm(dim=1, keepdim=True))
    assert encoder.encode([]).shape == (0, 16)


def test_a_convolutional_net_with_a_preparation_of_its_own(resnet):
    encoder = VisionEncoder(model=resnet)
    pixels = ImageEncoder(item=(3, 32, 32)).encode(pictures())
    prepared = (pixels - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.1]).view(3, 1, 1)
    with torch.no_grad():
        said = transformers.ResNetModel.from_pretrained(resnet).eval()(prepared).pooler_output.flatten(1)
    torch.testing.assert_close(encoder.encode(pictures()), said / said.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)
    assert VisionEncoder(model=resnet, size=64).encode(pictures()).shape == (5, 12)


def test_settings_are_saved_by_name(vit):
    encoder = VisionEncoder(model=vit, sha256=VisionEncoder(model=vit).weights)
    assert load("encoder", json.loads(json.dumps(dump(encoder)))) == encoder
    encoder.encode(pictures(1))
    with pytest.raises(DataError, match="expected 00"):
        VisionEncoder(model=vit, sha256="00").encode(pictures(1))


def test_text_models_are_refused(tmp_path):
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    with pytest.raises(DataError, match=r"is no image model: BertModel has no channels\. Text is for TextEncoder"):
        VisionEncoder(model=save(tmp_path, "BertModel", config)).encode(pictures(1))


def test_an_estimator_reads_files(vit, tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")
    from quickstudy import FewShotClassifier

    files = []
    for at, colour in enumerate(["red", "blue"] * 3):
        files.append(tmp_path / f"{at}.png")
        Image.new("RGB", (20, 20), colour).save(files[-1])
    fitted = FewShotClassifier(encoder={"name": "vision", "model": vit}).fit(files[:4], ["red", "blue"] * 2)
    assert fitted.predict(files[4:]).tolist() == ["red", "blue"]
    assert fitted.predict([str(files[4]), files[5].read_bytes()]).tolist() == ["red", "blue"]
    with pytest.raises(DataError, match=r"missing\.png does not exist"):
        fitted.predict([tmp_path / "missing.png"])
