"""What comes in, by hypothesis: any bytes come to a request or to a refusal, and to nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve.asking import PICTURES, ROWS, Letters, form, noise

pytest.importorskip("starlette", reason="starlette comes with the extra `serve`")
pytest.importorskip("python_multipart", reason="python_multipart comes with the extra `serve`")

from quickstudy.encoders import ImageEncoder, VectorEncoder
from quickstudy.serve import intake
from quickstudy.serve.refusals import RefusedError
from quickstudy.serve.settings import Limits
from quickstudy.serve.support import Support

ENCODERS = {"image": ImageEncoder(item=PICTURES), "vector": VectorEncoder(item=ROWS), "text": Letters()}
LIMITS = Limits(image=0.1, megapixels=0.1, examples=20, inputs=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
READERS = (intake.create_of, intake.add_of, intake.predict_of)


def read(kind: str, body: bytes) -> None:
    """Every reader and every encoder on a body."""
    for reader in READERS:
        for encoder in ENCODERS.values():
            try:
                asked = reader(kind, body, LIMITS)
                x = intake.items_of(intake.checked(asked.raws, encoder, LIMITS), encoder)
            except RefusedError as error:
                status = error.status
            else:
                status = 200
                assert x.shape == (len(asked.raws), *encoder.item)
                assert bool(x.isfinite().all())
            assert status == 200 or 400 <= status < 500


@given(st.binary(max_size=300))
def test_any_bytes(body: bytes) -> None:
    read("application/json", body)
    read("multipart/form-data; boundary=b", b"--b\r\n" + body)


@given(ANYTHING)
@example([1, 2, 3])
@example([[1, 2, 3]])
@example([10**400, 1, 2])
@example([1e39, 1, 2])
def test_any_vector(value: Any) -> None:
    read("application/json", json.dumps({"inputs": [{"vector": value}]}).encode())
    read("application/json", json.dumps({"model": "m", "examples": [{"class": "a", "vector": value}]}).encode())
    kind, body = form(("inputs", json.dumps(value).encode(), True))
    read(kind, body)


@given(ANYTHING, ANYTHING, ANYTHING)
def test_any_fields(label: Any, text: Any, keep: Any) -> None:
    body = {"model": "m", "keep": keep, "examples": [{"class": label, "text": text}]}
    read("application/json", json.dumps(body).encode())


@given(st.data())
def test_any_damage_to_an_image(data: st.DataObject) -> None:
    content = bytearray(noise(kind=data.draw(st.sampled_from(["PNG", "JPEG"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.integers(0, 2))
        if how == 0:
            content[at] = data.draw(st.integers(0, 255))
        elif how == 1:
            content[at : at + 1] = data.draw(st.binary(max_size=8))
        else:
            del content[at + 1 :]
    text = base64.b64encode(content).decode()
    read("application/json", json.dumps({"inputs": [{"image": text}]}).encode())


NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3)
CONTENTS = {"image": st.binary(max_size=50), "text": st.text(max_size=20), "vector": NUMBERS}


@given(st.data())
def test_kept_examples_come_back_as_they_were(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["image", "text", "vector"]))
    contents = data.draw(st.lists(CONTENTS[kind], min_size=1, max_size=6))
    labels = [at % 3 for at in range(len(contents))]
    again = Support.from_bytes(Support(kind, contents, labels, None, "v1").to_bytes())
    assert (again.kind, again.labels, again.version, again.encoded) == (kind, labels, "v1", None)
    assert [list(each) if kind == "vector" else each for each in again.contents] == contents
    left = again.without(1)
    assert left.labels == [0 if label == 0 else 1 for label in labels if label != 1]
    assert len(left.contents) == len(left.labels)


@given(st.binary(max_size=200))
def test_what_is_no_support_is_said_to_be_damaged(content: bytes) -> None:
    from quickstudy.errors import StoreDamagedError

    with pytest.raises(StoreDamagedError):
        Support.from_bytes(content)
