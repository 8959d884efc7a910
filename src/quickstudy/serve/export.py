"""A learner to take away: its tensors as safetensors, and what they mean as JSON."""

from __future__ import annotations

import io
import json
import zipfile

from quickstudy.serve.records import LearnerRecord

__all__ = ["zipped"]

FORMAT = 1
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def zipped(record: LearnerRecord) -> bytes:
    """The zip of a learner: the same bytes for the same learner, on any day."""
    summary = record.summary
    notes = {
        "format": FORMAT,
        "id": summary.id,
        "name": summary.name,
        "model": summary.model,
        "version": summary.version,
        "classes": [
            {"name": name, "examples": count} for name, count in zip(summary.classes, summary.counts, strict=True)
        ],
        "created": summary.created.isoformat(),
        "updated": summary.updated.isoformat(),
        "state": "learner.safetensors",
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in (
            ("learner.json", json.dumps(notes, indent=1, ensure_ascii=False).encode()),
            ("learner.safetensors", record.state),
        ):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), each, zipfile.ZIP_DEFLATED)
    return content.getvalue()
