"""A folder of prepared samples as the app shows it: what each sample was to a model, and which one stands for which."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from recording import fingerprint, label_frame, prepared, relative_to
from recording.exceptions import InputError
from recording.fingerprint import Fingerprint
from recording.prepared import Samples
from recording.scenarios import scenarios
from registry.contract import Contract
from registry.holdout import Holdout
from registry.lineage import Clock, Footage

COLUMNS = ["frame", "driver", "road", "azimuth_deg", "elevation_deg"]


def read(folder: Path) -> Samples:
    """The samples in ``folder``, prepared or bare, with the column ``scenario`` (1 to 10) in their table.

    What the labels held besides is left out: the pages add columns of their own.

    Raises :class:`~recording.exceptions.InputError` that says what is missing and which command makes it.
    """
    samples = prepared.load(folder)
    table = samples.table[COLUMNS].assign(scenario=scenarios(samples.table["frame"].to_numpy()))
    return replace(samples, table=table)


def parts(samples: Samples, holdout: Holdout | None) -> np.ndarray:
    """(n,) what each sample was to a model: ``held out``, ``trained on`` (or validated, or within a second of such a
    frame), ``neither``.

    ``neither`` are samples of another drive, or between the parts, or of which it is not known (:func:`novelty`).
    """
    frames = samples.table["frame"].to_numpy()
    known = np.full(len(frames), "neither", dtype=object)
    if holdout is None:
        return known
    for _, part in holdout.parts():
        if part.drive == samples.drive:
            known[np.isin(frames, part.frames)] = "held out"
    moments = _moments(samples.folder, samples.digest)
    shown = Footage(samples.drive, samples.fps, frames, moments, Clock(frames, samples.seconds))
    seen = holdout.saw_bare(shown)[0] if samples.is_bare else holdout.saw(shown)
    known[seen] = "trained on"  # held-out ones too, where a twin is measured
    return known


@lru_cache(maxsize=4)  # of a bare folder all pictures are decoded, and pages are drawn again and again
def _moments(folder: Path, digest: str) -> Fingerprint:
    samples = prepared.load(folder)
    if samples.digest != digest:
        raise InputError(f"samples folder {folder}: has changed; reload the page")
    return fingerprint.of(samples)


def novelty(samples: Samples, holdout: Holdout | None) -> str:
    """What is known of samples of which all :func:`parts` are ``neither``, as a sentence."""
    if holdout is None:
        return "Whether this version was trained on these frames cannot be told: it does not say what it has seen."
    if samples.is_bare:
        return (
            "Whether this version was trained on these pictures cannot be told: a bare folder does not say when they "
            "were shown, and none of them is known from the training."
        )
    return "Another drive than the one this version was trained on: every frame is new to it."


def doubt(samples: Samples, sealed: Contract, known: bool) -> str:
    """Why errors of a model on a drive may say nothing, as a sentence: their angles count from different things.

    ``known``: the model was trained or tested on it; what its training was told is believed then.
    """
    found = label_frame.of(samples, (sealed.told_label_frame if known else "") or relative_to.AUTO)
    said = relative_to.doubt(found.relative_to, sealed.output.label_frame)
    drive, model = relative_to.WORDS[found.relative_to], sealed.output.relative_to
    return f"The angles of this drive are relative to {drive}, the answers to {model}: {said}." if said else ""


def representative(samples: Samples, part: np.ndarray, scenario: int) -> int:
    """The row that stands for a scenario: its middle held-out sample, its middle sample where none is held out."""
    numbers = samples.table["scenario"].to_numpy()
    inside = np.flatnonzero(numbers == scenario)
    if not len(inside):
        # A drive with gaps: the nearest sample in time.
        return int(np.abs(numbers - scenario).argmin())
    held_out = inside[part[inside] == "held out"]
    chosen = held_out if len(held_out) else inside
    return int(chosen[len(chosen) // 2])
