"""What the labels of each drive are worth, looked at before the search.

In step with the video? In one convention? Relative to what?
"""

import logging
from dataclasses import replace
from typing import Any

import mlflow
import numpy as np

from recording import files, label_frame, trace
from recording.prepared import DRIVE, Samples
from recording.recordings import Recordings
from registry.intervals import Floats, Integers
from training import bases
from training.bases import Bases
from training.config import ALL
from training.context import Job
from training.learning.trunk import Dataset, features
from training.measuring.alignment import align
from training.measuring.splits import Split
from training.measuring.synchrony import Answers, Synchrony, compare
from training.reporting.labels import DriveLabels

log = logging.getLogger(__name__)

EDGE_S = 0.5
"""A test block is not looked at from so much before its first sample to so much behind its last."""


def inspect(job: Job, starts: Bases, base_deg: Floats | None = None) -> tuple[DriveLabels, ...]:
    """Look at every drive that is trained on; what is wrong is logged, and what was found tagged on the run.

    Only training samples, and frames away from the test blocks, are looked at. Where whole drives are held out, what
    is found of one drive changes nothing for another: those that validate are looked at as well, and with
    ``final=all`` the one that tests; with ``base_deg``, the base's (n, 2) answers to all samples, all of all drives.
    """
    data, whole = job.recordings, job.split.name in ("by-drive", "by-driver")
    looked, answers, samples = _looked_at(job, starts, base_deg)
    source = features(job.base.network, "backbone", samples, job.cache, job.device)
    parts = np.array_split(looked, 1 + len(looked) // 256)
    pooled = np.concatenate([source.plain(part).cpu().numpy() for part in parts])
    usual = align(answers, data.labels_deg[looked])
    found = []
    for index, drive in enumerate(data.drives):
        rows = np.flatnonzero(data.drive_index[looked] == index)
        if not len(rows):
            continue
        frames, block = data.frames[looked[rows]], job.split.block[looked[rows]]
        read = {"answers": pooled[rows], "base": answers[rows]}
        seen = {name: Answers(frames, values, block) for name, values in read.items()}
        spans = held_out(data, job.split, index) if not whole else np.empty((0, 2))
        synchrony = _synchrony(drive, spans, seen)
        own = align(answers[rows], data.labels_deg[looked[rows]])
        differs = own.describe() if own.changes() != usual.changes() else ""
        found.append(DriveLabels(drive.name, _dropped(drive), drive.fps, synchrony, differs, job.label_frames[index]))
        log.log(logging.WARNING if found[-1].is_loud else logging.INFO, "%s", found[-1].line())
    line = " | ".join(one.line() for one in found)[:4900]
    mlflow.set_tags({"labels": line, "label_frame": label_frame.common(job.label_frames)})
    mlflow.log_metrics({f"labels/{name}": value for one in found[:1] for name, value in one.metrics().items()})
    return tuple(found)


def _looked_at(job: Job, starts: Bases, base_deg: Floats | None) -> tuple[Integers, Floats, Dataset]:
    """Indices of the samples to look at, the base's answers to them in degrees, and whose activations there are."""
    split, everything = job.split, np.arange(len(job.recordings))
    if base_deg is not None:
        return everything, base_deg, job.everything
    if split.name != "by-drive":
        return job.fitted_on, starts.answers_deg, job.fitted
    looked, samples = np.concatenate([job.fitted_on, split.validation]), job.fitted
    if job.config.final == ALL:
        looked, samples = everything, job.everything
    return looked, bases.answers(job, job.base.network, samples, looked), samples


def _synchrony(drive: Samples, held_out_s: np.ndarray, seen: dict[str, Answers]) -> Synchrony:
    kept = trace.read(drive.folder)
    if kept is None or not len(kept.rows.frame):
        return Synchrony(())
    face = drive.chosen.face if drive.chosen else None
    return replace(compare(kept, drive.fps, held_out_s, seen, face), present=_label_offset(drive))


def held_out(data: Recordings, split: Split, drive: int) -> np.ndarray:
    """(m, 2) seconds from and to which the test blocks of a drive go."""
    test = split.test[data.drive_index[split.test] == drive]
    seconds, block = data.frames[test] / data.drives[drive].fps, split.block[test]
    spans = [(seconds[block == one].min() - EDGE_S, seconds[block == one].max() + EDGE_S) for one in np.unique(block)]
    return np.array(spans, dtype=np.float64).reshape(-1, 2)


def label_offsets(data: Recordings) -> list[float]:
    """By how many frames the labels of each drive were taken for earlier ones when it was prepared."""
    return [_label_offset(drive) for drive in data.drives]


def _label_offset(drive: Samples) -> float:
    return float(_about(drive).get("offset_frames", 0.0))


def more_samples(job: Job) -> str:
    """What would give the job more samples, in words: of several drives, of the one that has the fewest."""
    data, config = job.recordings, job.config
    drive = min(data.drives, key=lambda one: len(one.table))
    folder = bool(config.data) or any(entry.data is not None for entry in data.listed if entry.name == drive.name)
    more = _more_of(drive, folder)
    return more if len(data.drives) == 1 else f"add drives, or of {drive.name}, which has the fewest: {more}"


def _more_of(drive: Samples, folder: bool) -> str:
    """The same of one drive; ``folder``: it was given as one, and ``samples=`` of the job changes nothing."""
    has, about = len(drive.table), _about(drive)
    if not about:
        return f"put more pictures of the drive, each with its _gt.json, into {drive.folder}"
    usable, lost = about["usable"], sum(files.read_json(drive.folder / DRIVE)["samples"].get("dropped", {}).values())
    if has + lost >= usable:
        return f"take a longer drive: all {usable} usable rows of this one are used"
    if folder:
        return (
            f"prepare the drive anew with more samples, its CSV has {usable} usable rows (samples= does nothing here)"
        )
    return f"try samples={min(max(1000, 2 * has), usable)}"


def _dropped(drive: Samples) -> dict[str, int]:
    """Reason → rows that were left out; empty for a bare folder, which does not say."""
    about = _about(drive)
    return {"usable": about.get("usable", 0), **about.get("dropped", {})} if about else {}


def _about(drive: Samples) -> dict[str, Any]:
    """What a prepared folder says of its labels."""
    path = drive.folder / DRIVE
    return dict(files.read_json(path).get("labels", {})) if path.is_file() else {}
