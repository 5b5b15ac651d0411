"""The drives of a list, as the job works on them: read, prepared side by side, and told in one table."""

import logging
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd

from recording import drive_list, fleet, processors, recordings
from recording.drive_list import Entry
from recording.fleet import Run, Task
from recording.recordings import Recordings
from registry.intervals import Floats
from training.config import JobConfig
from training.measuring import splits
from training.measuring.alignment import Alignment, align

log = logging.getLogger(__name__)

FAR_OFF_DEG = 10.0
"""A drive whose labels are shifted against the base by so much more than the others' has another camera, or a fault."""


def prepare(config: JobConfig, elsewhere: Run | None = None) -> Recordings:
    """What :func:`load` gives, with the face rectangle that the job, or the drive itself, asks for.

    ``elsewhere`` prepares the drives in place of processes of this machine. That there are too few drivers for the
    split is said before anything is prepared.
    """
    listed = drive_list.read(Path(config.drives))
    config.check_folds(splits.chosen(config.split, len(listed), len(drive_list.drivers(listed)), listed=True))
    data = _load(config, listed, config.face, elsewhere)
    own = {entry.name: entry.face for entry in listed}
    return recordings.with_faces(data, [own[drive.name] or config.face for drive in data.drives])


def load(config: JobConfig, face_asked: str | None) -> Recordings:
    """All drives of the job's list, prepared; those that cannot be used are left out, or stop the job.

    ``face_asked``: what :func:`recording.preparation.prepare` is to say of the face of a drive that asks for none.
    """
    return _load(config, drive_list.read(Path(config.drives)), face_asked)


def _load(
    config: JobConfig, listed: tuple[Entry, ...], face_asked: str | None, elsewhere: Run | None = None
) -> Recordings:
    processes = min(len(listed), processors.cores())
    tasks = [
        Task(
            entry,
            Path(config.work),
            config.samples,
            config.layout,
            face_asked,
            config.track if config.track >= 0 else None,
            config.on_bad_rows,
            threads=max(1, processors.cores() // processes),
        )
        for entry in listed
    ]
    log.info("preparing %d drives of %d drivers", len(listed), len(drive_list.drivers(listed)))
    outcomes = fleet.prepare(tasks, config.on_bad_drive, processes, elsewhere)
    bad = "; ".join(f"{outcome.entry.name}: {outcome.error}" for outcome in outcomes if outcome.error)
    if bad:
        mlflow.set_tag("drives_left_out", bad[:4900])
    return Recordings(tuple(outcome.samples for outcome in outcomes if outcome.samples is not None), listed)


def table(data: Recordings, base_deg: Floats | None = None) -> pd.DataFrame:
    """One row a drive of the list: its driver, samples, what was left out and its face; where whole drivers are held
    out, also how its labels relate to the base's answers ``base_deg`` (n, 2), degrees."""
    rows = {
        drive.name: {
            "drive": drive.name,
            "driver": drive.driver,
            "samples": len(drive.table),
            "left out": sum(fleet.left_out(drive).values()),
            "face": "whole view" if face is None else str(face),
        }
        for drive, face in zip(data.drives, data.faces, strict=True)
    }
    for drive, compared in zip(data.drives, _compared(data, base_deg) if base_deg is not None else (), strict=False):
        rows[drive.name] |= compared
    bad = {"samples": 0, "left out": 0, "face": "", "shift": "", "labels": "BAD DRIVE, left out"}
    lines = [rows.get(entry.name, {"drive": entry.name, "driver": entry.driver} | bad) for entry in data.listed]
    return pd.DataFrame(lines).fillna("")


def _compared(data: Recordings, base_deg: Floats) -> list[dict[str, str]]:
    """Of each drive the shift of its labels against the base's answers, and what is wrong with them."""
    drives = range(len(data.drives))
    found = [align(base_deg[data.drive_index == k], data.labels_deg[data.drive_index == k]) for k in drives]
    usual = align(base_deg, data.labels_deg)
    shifts = np.array([one.shift_deg for one in found])
    return [
        {
            "shift": f"{one.shift_deg[0]:+z.1f}° / {one.shift_deg[1]:+z.1f}°",
            "labels": _warning(one, usual, np.delete(shifts, k, axis=0) - shifts[k]),
        }
        for k, one in enumerate(found)
    ]


def tell(shown: pd.DataFrame) -> None:
    """Print the table and log it."""
    print(shown.to_string(index=False))
    mlflow.log_table(shown, "tables/drives.json")


def _warning(one: Alignment, usual: Alignment, others_deg: Floats) -> str:
    """What is wrong with the labels of a drive, beside those of the others; ``others_deg`` (others, 2): their shifts
    less its own."""
    if one.changes() != usual.changes():
        return f"OTHER SIGNS THAN THE OTHERS: {one.describe()}"
    off = np.abs(np.median(others_deg, axis=0)) if len(others_deg) else np.zeros(2)
    if off.max() > FAR_OFF_DEG:
        angle = ("azimuth", "elevation")[int(off.argmax())]
        return f"{angle.upper()} SHIFTED {off.max():.0f}° FROM THE OTHERS: another camera, or a fault"
    return "as the others"
