"""Pictures, through any image model of Hugging Face."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.settings import Size, settings
from quickstudy.core.shapes import Float, Tensor
from quickstudy.encoders import hub
from quickstudy.encoders.encoder import Kind
from quickstudy.encoders.image import ImageEncoder
from quickstudy.errors import DataError

__all__ = ["VisionEncoder"]

USUAL_SIZE = 224
"""Pixels on a side where neither the model nor its preparation says how many."""


@settings
class VisionEncoder(hub.Hosted):
    """Pictures as the features of an image model that stays as it is (extra `text`, which brings transformers).

    Pictures are resized and padded to the model's size, as everywhere here, where the model's own preparation may cut
    their edges off; then they are shifted and scaled by the mean and deviation that it was trained with. The model is
    loaded when it is first used and shared by all encoders of this process that name it. Torchvision is not needed.

    Raises:
        SettingsError: there is no such model here and it cannot be had.
        DataError: its weights are not the ones asked for, cannot be read, or are not those of an image model.
    """

    kind: ClassVar[Kind] = "image"

    model: str
    """A model's name on the Hugging Face hub, or a folder."""
    sha256: str | None = None
    """What the weights must hash to; None takes them as they are."""
    pooling: Literal["first", "mean"] = "first"
    """Whether the features of a transformer are those of its first token, which stands for the class in most, or the
    mean over all tokens. Features of a convolutional net are the mean over its maps."""
    normalise: bool = True
    """Whether features are given length 1."""
    size: Size | None = None
    """Height and width of what the model is given; None is what it was trained with."""
    batch: Size = 32
    """Pictures that are encoded together."""

    @property
    def item(self) -> tuple[int, ...]:  # type: ignore[override]  # known only once the model is
        """The number of features."""
        return (self._features(torch.zeros(1, *self._loaded().reads)).shape[1],)

    def encode(self, raw: Sequence[Any]) -> Float[Tensor, "n d"]:
        pictures = ImageEncoder(item=self._loaded().reads)
        parts = [pictures.encode(raw[at : at + self.batch]) for at in range(0, len(raw), self.batch)]
        return torch.cat([self._features(part) for part in parts]) if parts else torch.empty(0, *self.item)

    def _features(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        loaded = self._loaded()
        with torch.inference_mode():
            said = loaded.net((pixels - loaded.mean) / loaded.std).last_hidden_state
            if said.ndim == 4:  # maps: their places are what tokens are to a transformer
                said = said.mean((2, 3))
            elif self.pooling == "first":
                said = said[:, 0]
            else:
                said = said.mean(1)
        return (F.normalize(said, dim=-1) if self.normalise else said).clone()

    def _loaded(self) -> _Loaded:
        return _load(self.model, self.sha256, self.size)


class _Loaded(NamedTuple):
    net: nn.Module
    reads: tuple[int, int, int]
    mean: Float[Tensor, "c 1 1"]
    std: Float[Tensor, "c 1 1"]


@functools.lru_cache(maxsize=4)
def _load(model: str, sha256: str | None, size: int | None) -> _Loaded:
    folder = hub.folder_of(model)
    hub.check(model, folder, sha256)
    net = hub.load("AutoModel", folder, use_safetensors=True, dtype=torch.float32)
    net = getattr(net, "vision_model", net)  # of models that read text as well
    channels = getattr(net.config, "num_channels", None)
    if channels is None:
        raise DataError(f"{model!r} is no image model: {type(net).__name__} has no channels. Text is for TextEncoder.")
    prepared = _preparation(folder)
    side = size or _side(net.config) or _side_of(prepared) or USUAL_SIZE
    mean, std = (torch.tensor(prepared.get(name, [0.5] * channels)) for name in ("image_mean", "image_std"))
    reads = (channels, side, side)
    return _Loaded(net.eval().requires_grad_(False), reads, mean.view(-1, 1, 1), std.view(-1, 1, 1))


def _preparation(folder: Path) -> dict[str, Any]:
    """How the model's pictures are prepared, as its authors wrote it down."""
    try:
        found: dict[str, Any] = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'preprocessor_config.json'} cannot be read: {error}. Fetch it again.") from error
    return found


def _side(config: Any) -> int | None:
    side = getattr(config, "image_size", None)
    return int(side if isinstance(side, int) else side[0]) if side else None


def _side_of(prepared: dict[str, Any]) -> int | None:
    size = prepared.get("crop_size") or prepared.get("size")
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return int(size) if size else None
