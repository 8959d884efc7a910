"""Programs as files for the edge: ONNX, checked against onnxruntime, and torch.export."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from quickstudy.bundle.program import Program
from quickstudy.core import chance, files
from quickstudy.core.extras import extra
from quickstudy.core.shapes import Tensor
from quickstudy.errors import BundleError, SettingsError

__all__ = ["FORMATS", "TOLERANCE", "write"]

TOLERANCE = 1e-4
"""How far what was written may be from what the bundle says: a difference, relative for numbers above 1."""
TRIALS = 3
"""Random inputs that what was written is tried on."""
NOTES = "quickstudy.json"

FORMATS = (".onnx", ".pt2")


def write(program: Program, path: Path | str) -> float:
    """Write a program as ONNX (.onnx) or as torch.export's archive (.pt2), and try it.

    What its users have to know stands inside: as JSON under "quickstudy" in ONNX's metadata, or in the extra file
    quickstudy.json of the archive.

    Args:
        program: What to write.
        path: Where to; its ending says the form.

    Returns:
        The greatest difference between what the file computes and what the bundle says, over random inputs.

    Raises:
        SettingsError: another ending.
        BundleError: it cannot be written down, or what was written computes something else; nothing is left then.
        ExtraError: for ONNX, onnx, onnxscript or onnxruntime is not installed.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise SettingsError(f"{path} ends in {path.suffix!r}; expected .onnx or .pt2. Name the file so.")
    try:
        with files.whole_file(path.absolute()) as draft:
            with _quiet():
                run = _onnx(program, draft) if path.suffix == ".onnx" else _pt2(program, draft)
            return _checked(program, run, path)
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror or error}. Name another place.") from error


def _pt2(program: Program, path: Path) -> Any:
    exported = _exported(program)
    content = io.BytesIO()
    torch.export.save(exported, content, extra_files={NOTES: json.dumps(program.notes)})
    path.write_bytes(content.getvalue())
    return torch.export.load(io.BytesIO(path.read_bytes())).module()


def _onnx(program: Program, path: Path) -> Any:
    for module in ("onnx", "onnxscript"):
        extra(module, "export")
    runtime = extra("onnxruntime", "export")
    names = list(program.inputs)
    exported = _exported(program)
    try:
        made = torch.onnx.export(exported, input_names=names, output_names=program.outputs, dynamo=True, verbose=False)
        assert made is not None
    except Exception as error:  # the exporter's own errors, which have no root of their own
        lacking = re.search(r"op='aten\.(\w+)'", str(error))
        reason = f"ONNX has no {lacking[1]}." if lacking else _last_line(error)
        raise BundleError(
            f"this program cannot be written as ONNX: {reason} Name the file .pt2 for torch.export, or write a "
            "specialised learner (--support), which has less to compute."
        ) from error
    made.model.metadata_props["quickstudy"] = json.dumps(program.notes)
    made.save(path, external_data=False)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(each) for each in session.run(None, given))

    return run


def _exported(program: Program) -> Any:
    try:
        return torch.export.export(program.traced, tuple(program.inputs.values()))
    except Exception as error:  # torch raises whatever an operation that it cannot write down raises
        raise BundleError(
            f"the method cannot be written as a program: {_last_line(error)} Choose another method, or export a "
            "specialised learner."
        ) from error


def _last_line(error: Exception) -> str:
    """What an exporter says at the end of what it has to say, where the reason is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _checked(program: Program, run: Any, path: Path) -> float:
    """The greatest difference from what the bundle says, or an error where it is too great."""
    worst = 0.0
    for trial in range(TRIALS):
        inputs = _other(program.inputs, trial)
        with torch.no_grad():
            expected = program.function(*inputs)
            said = run(*inputs)
        for one, other in zip(expected, said, strict=True):
            apart = ((one - other.reshape(one.shape)).abs() / one.abs().clamp(min=1)).max().item()
            worst = max(worst, math.inf if math.isnan(apart) else apart)
    if worst > TOLERANCE:
        raise BundleError(
            f"what was written to {path} differs from the bundle by {worst:.2g}, where {TOLERANCE:g} is the most. Use "
            "the bundle itself, or another method."
        )
    return worst


def _other(inputs: dict[str, Tensor], trial: int) -> list[Tensor]:
    """Other inputs of the same shapes: numbers of chance, labels in another order and some rows unused."""
    found = []
    for name, value in inputs.items():
        key = chance.key("trial", name)
        if name != "labels":
            drawn = chance.normals(key, [trial], value.numel())
            found.append(torch.from_numpy(drawn).to(value.dtype).reshape(value.shape).contiguous())
            continue
        order = chance.choose(chance.words(key, [trial], len(value)), len(value))[0]
        labels = value[torch.from_numpy(order)].clone()
        if trial and len(labels) > 2:
            labels[-1] = -1 if labels.dtype == torch.int64 else float("nan")
        found.append(labels)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of exporters about themselves."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "torch.export")}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
