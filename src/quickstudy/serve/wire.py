"""Requests and answers as they go over the wire. What they say of themselves is the OpenAPI document."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

__all__ = [
    "AddRequest",
    "Alive",
    "ClassCount",
    "CreateRequest",
    "Error",
    "Example",
    "ExamplePage",
    "Input",
    "KeptExample",
    "LearnerAnswer",
    "LearnerPage",
    "ModelAnswer",
    "ModelPage",
    "PredictAnswer",
    "PredictRequest",
    "Predicted",
    "Ready",
    "ReloadAnswer",
    "explained",
    "label_of",
]

SHOWN = 60
"""Characters of a wrong value that a message shows."""


def _label(text: str) -> str:
    """A name as people mean it: composed characters, no space around it, nothing invisible in it."""
    name = unicodedata.normalize("NFC", text).strip()
    if not name:
        raise ValueError("a name has at least one character that is not a space")
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in name):
        raise ValueError("a name has no control characters and no halves of characters")
    return name


Label = Annotated[str, AfterValidator(_label), Field(min_length=1)]
"""The name of a class or a learner."""

Numbers = Annotated[
    list[Any],
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 1}),
    Field(min_length=1),
]
"""An array of numbers; nested lists where the model takes more than one axis."""


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Input(_Asked):
    """One thing to recognise: an image, a vector or a text, whichever the model takes."""

    image: Annotated[str, Field(examples=["iVBORw0KGgo..."])] | None = None
    """A PNG or JPEG file in base64 (a data: URL will do)."""
    vector: Numbers | None = None
    """Numbers, as many as the model's `item` says."""
    text: Annotated[str, Field(examples=["where is my card?"])] | None = None
    """Text."""

    @property
    def kind(self) -> str:
        """Which of the three it is."""
        return next(name for name in ("image", "vector", "text") if getattr(self, name) is not None)

    @property
    def content(self) -> Any:
        """What it is."""
        return getattr(self, self.kind)

    @model_validator(mode="after")
    def _just_one(self) -> Self:
        given = [name for name in ("image", "vector", "text") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"got {' and '.join(given) or 'none of them'}; give one of image, vector and text")
        return self


class Example(Input):
    """A labelled example."""

    label: Annotated[Label, Field(alias="class", examples=["cat"])]
    """The name of its class."""


class CreateRequest(_Asked):
    """What a new learner is made of."""

    model: Annotated[str, Field(examples=["characters"])]
    """The name of a model; GET /v1/models lists them."""
    name: Label | None = None
    """What to call the learner; nothing depends on it."""
    keep: bool = True
    """Whether the examples are kept. They are needed to add examples or classes, to remove classes, and to follow to a
    new version of the model."""
    examples: Annotated[list[Example], Field(min_length=1)]
    """Examples of two classes or more; classes may have different numbers of them."""


class AddRequest(_Asked):
    """Further examples, of classes that the learner knows or of new ones."""

    examples: Annotated[list[Example], Field(min_length=1)]


class PredictRequest(_Asked):
    """What to recognise."""

    inputs: Annotated[list[Input], Field(min_length=1)]


class ClassCount(_Answer):
    """A class, and how many examples it was learned from."""

    name: str
    examples: int


class LearnerAnswer(_Answer):
    """A learner: what adaptation made of some examples."""

    id: str
    """128 random bits in hexadecimal."""
    name: str
    model: str
    version: str
    """The version of the model that it belongs to."""
    newest: bool
    """Whether that is the version that new learners are made with."""
    classes: list[ClassCount]
    created: datetime
    updated: datetime
    kept: bool
    """Whether its examples are kept."""


class LearnerPage(_Answer):
    """Some of your learners."""

    learners: list[LearnerAnswer]
    next: str | None
    """Give it as `after` for the page that follows; null on the last."""


class KeptExample(_Answer):
    """An example that a learner is made of."""

    id: str
    """Of its content and its class: the same example has it in every learner."""
    label: Annotated[str, Field(alias="class")]
    """Its class."""
    count: int
    """How often it was given for this class."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)


class ExamplePage(_Answer):
    """Every example that a learner is made of."""

    examples: list[KeptExample]


class Predicted(_Answer):
    """What the learner says of one input."""

    label: Annotated[str, Field(alias="class")]
    """The most likely class."""
    probability: float
    """Of that class."""
    probabilities: dict[str, float]
    """Of every class; they add up to 1."""
    known: bool | None
    """False where the input seems to belong to no class of the examples; null where the model cannot say."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)


class PredictAnswer(_Answer):
    """A prediction for each input, in their order."""

    predictions: list[Predicted]


class ModelAnswer(_Answer):
    """A model: a trained method, ready to learn from a few examples."""

    name: str
    version: str
    """The version that new learners are made with."""
    kind: Literal["image", "vector", "text"]
    """What it takes."""
    item: list[int]
    """The shape of one encoded input; of a vector, how many numbers."""
    ways: int | None
    """The most classes it takes; null for any number."""
    method: str
    says_unknown: bool
    """Whether it can say that an input belongs to no class of the examples."""
    licence: str
    trained_on: dict[str, Any]
    """Where it comes from, as its bundle says."""


class ModelPage(_Answer):
    """Every model of this server."""

    models: list[ModelAnswer]


class ReloadAnswer(_Answer):
    """How looking for a new version went."""

    model: str
    version: str
    previous: str
    changed: bool


class Alive(_Answer):
    """The process lives."""

    alive: bool


class Ready(_Answer):
    """Whether the server takes requests, and what is not as it should be."""

    ready: bool
    models: dict[str, str]
    """The newest version of each model."""
    problems: list[str]
    """In words; with any of these the server may still be ready."""


class ErrorBody(_Answer):
    """What went wrong: a code for programs, words for people."""

    code: str
    message: str
    """What was got, what was expected, and the mend."""


class Error(_Answer):
    """Every answer with a status of 400 or more."""

    error: ErrorBody


def label_of(text: str) -> str:
    """A class's name as an address gives it, in the form in which names are kept; it may be one that no class has."""
    return unicodedata.normalize("NFC", text).strip()


def explained(error: pydantic.ValidationError) -> str:
    """The first problems of a request in a sentence each: where, what was got, what was expected."""
    problems = error.errors(include_url=False, include_context=False)
    told = "; ".join(_sentence(problem) for problem in problems[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return f"{told}{more}. GET /openapi.json and /docs show what is expected."


def _sentence(problem: Any) -> str:
    at = ".".join(str(part) for part in problem["loc"]) or "the body"
    text = problem["msg"].removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    if problem["type"] in ("missing", "json_invalid", "value_error"):
        return f"{at}: {text}"
    got = problem["input"]
    if isinstance(got, (str, int, float, bool)) or got is None:
        shown = repr(got) if len(repr(got)) <= SHOWN else f"{repr(got)[:SHOWN]}..."
    else:
        shown = type(got).__name__
    return f"{at}: {text}, got {shown}"
