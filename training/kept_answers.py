"""Answers of trained models that are kept between runs: a file each, with a checksum over what it says."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from recording import files
from registry.intervals import Floats

_SUM, _ANSWERS, _MOST_DEG = "sha256", "answers_deg", 180.0


def write(path: Path, answers_deg: Floats, **said: Any) -> None:
    """Keep answers (n, 2), in degrees, and what else is ``said`` of the model."""
    content = said | {_ANSWERS: answers_deg.tolist()}
    files.write_text(path, json.dumps(content | {_SUM: _sum(content)}))


def read(path: Path, samples: int) -> tuple[Floats, dict[str, Any]]:
    """The answers (``samples``, 2), in degrees, and what else was said; ``ValueError`` where it is not as written."""
    content = files.parse_json(path.read_text())
    if not isinstance(content, dict) or content.pop(_SUM, None) != _sum(content):
        raise ValueError("it is damaged, or of an earlier version")
    answers = np.array(content.pop(_ANSWERS), dtype=np.float64)
    if answers.shape != (samples, 2) or not (np.abs(answers) <= _MOST_DEG).all():
        raise ValueError(f"it holds no angles of {samples} samples")
    return answers, content


def _sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
