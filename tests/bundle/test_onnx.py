"""Programs as ONNX: onnxruntime says what the bundle says, and the file tells what its users must know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bundle.made import bundle_of, episode_of, labels_of, subject_of
from quickstudy.bundle.export import write
from quickstudy.bundle.program import adapting, specialised
from quickstudy.errors import BundleError

runtime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("onnxscript", reason="the extra export is not installed")


@pytest.mark.parametrize(("name", "more"), [("maml", {"steps": 1}), ("protonet", {})])
def test_onnx_runs_elsewhere(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    subject = subject_of(name, "categorical", **more)
    bundle = bundle_of(subject)
    episode = episode_of(subject)
    assert write(adapting(bundle, ways=5, shots=3, queries=20), tmp_path / "p.onnx") < 1e-5
    session = runtime.InferenceSession((tmp_path / "p.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    labels = torch.tensor(labels_of(episode))
    names = [each.name for each in session.get_inputs()]
    assert names == ["support", "labels", "queries"]
    values = (episode.support.x, labels, episode.query.x)
    (said,) = session.run(["probabilities"], {n: v.numpy() for n, v in zip(names, values, strict=True)})
    expected = bundle.predict(bundle.adapt(episode.support.x, labels), episode.query.x).mean
    torch.testing.assert_close(torch.from_numpy(said), expected, atol=1e-5, rtol=0)
    notes = json.loads(session.get_modelmeta().custom_metadata_map["quickstudy"])
    assert notes["version"] == bundle.version
    assert [each.name for each in tmp_path.iterdir()] == ["p.onnx"]


def test_what_onnx_lacks_is_named(tmp_path: Path) -> None:
    """Ridge regression solves equations, for which ONNX has no operator; its learner is a matrix, and is written."""
    subject = subject_of("r2d2", "categorical")
    bundle = bundle_of(subject)
    with pytest.raises(BundleError, match=r"ONNX has no linalg_\w+\. Name the file \.pt2"):
        write(adapting(bundle, ways=2, shots=1), tmp_path / "p.onnx")
    assert list(tmp_path.iterdir()) == []
    episode = episode_of(subject)
    learner = bundle.adapt(episode.support.x, labels_of(episode))
    assert write(specialised(bundle, learner, [*"abcde"]), tmp_path / "l.onnx") < 1e-5
