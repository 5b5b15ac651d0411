"""A drive: one recording (video) with its measured gaze angles (labels), checked against each other."""

import hashlib
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recording import badrows, frames, labels, layouts, units
from recording.exceptions import DriveError, InputError
from recording.relative_to import AUTO

log = logging.getLogger("recording.drive")

RENDERED_MARK = "rendered.json"
"""Lies next to a video that this project rendered (training.sample.sample_drive)."""
RENDERED_NAME = "rendered sample drive"
UNLABELLED_S = 2.0
"""Labels that begin, or end, no farther inside the film than this span it to that end."""


@dataclass(frozen=True)
class Source:
    """Where the two files of a drive lie, and how they are to be read.

    ``layout``: where the views lie, by name or as a file (:func:`recording.layouts.views_for`); ``track``: which film
    of the video, where it holds several (:func:`recording.video.opened`); ``on_bad_rows``: whether a class of rows
    that cannot be read stops it, ``label_offset_frames``: so many frames too late the rows of the labels are (both
    :func:`recording.labels.read`); ``label_frame``: what the angles count from (:func:`recording.label_frame.find`).
    """

    video: Path
    labels: Path
    layout: str | Path = "dashgaze"
    track: int | None = None
    on_bad_rows: str = badrows.STOP
    label_offset_frames: float = 0.0
    label_frame: str = AUTO


@dataclass(frozen=True)
class Drive:
    """A recording whose labels can be sampled.

    ``layout``: as it was asked for; ``views``: rectangle per view at the video's size. ``labels.table`` holds
    the usable rows, at least one.
    """

    video: Path
    labels_file: Path
    layout: str
    views: dict[str, layouts.View]
    index: frames.Index
    labels: labels.Labels
    rendered: bool

    @property
    def name(self) -> str:
        """What messages call this drive."""
        return RENDERED_NAME if self.rendered else self.video.stem

    @property
    def span(self) -> tuple[int, int]:
        """First and last frame of the time that the drive takes, whatever samples are picked of it and rows left out.

        The film, or where only a part of it has labels that part: which rows stand at its very ends is chance.
        """
        seconds, last = self.index.seconds, self.index.frames - 1
        start, end = self.labels.span or (0, last)
        return (
            0 if seconds[start] - seconds[0] <= UNLABELLED_S else start,
            last if seconds[last] - seconds[end] <= UNLABELLED_S else end,
        )


def read(source: Source) -> Drive:
    """Index the video and read the labels.

    Raises :class:`DriveError` when either cannot be read, when no row is usable or when the labels name other
    frames than the video has, and :class:`InputError` when the layout does not fit.
    """
    video, labels_file = Path(source.video), Path(source.labels)
    index = frames.scan(video, source.track)
    views = layouts.views_for(source.layout, index.width, index.height, f"video {video}")
    unshown = len(index.beginning.unshown)
    table = labels.read(
        labels_file,
        index.frames,
        source.on_bad_rows,
        index.seconds,
        source.label_offset_frames,
        unshown,
        index.assumed,
    )
    if table.table.empty:
        raise DriveError(_nothing_usable(video, index.frames, labels_file, table))
    return Drive(video, labels_file, str(source.layout), views, index, table, (video.parent / RENDERED_MARK).is_file())


def sample_count(samples: object) -> int:
    """``samples`` as a positive whole number; :class:`InputError` otherwise."""
    try:
        count = int(str(samples))
    except ValueError:
        raise InputError(f"samples={samples!r} is not a whole number; give how many frames to use, as 500") from None
    if count <= 0:
        raise InputError(f"samples={count} is not positive; give how many frames to use, as 500")
    return count


def pick(drive: Drive, samples: int) -> pd.DataFrame:
    """``samples`` rows of the usable labels, evenly spaced, first and last included; all where there are fewer.

    Frames within a saccade are left out as long as there are enough others (:func:`leaves_out`).
    """
    table = drive.labels.table
    if leaves_out(drive, samples):
        table = table[~drive.labels.moving]
    if len(table) <= samples:
        return table.reset_index(drop=True)
    rows = np.linspace(0, len(table) - 1, samples).round().astype(int)
    return table.iloc[rows].reset_index(drop=True)


def records(picked: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as what ``_gt.json`` holds: numbers where the labels have numbers, None where they have nothing."""
    return [
        {
            "frame": int(frame),
            "azimuth_deg": float(azimuth),
            "elevation_deg": float(elevation),
            **{name: _plain(text) for name, text in zip(picked.columns[3:], kept, strict=True)},
        }
        for frame, azimuth, elevation, *kept in picked.itertuples(index=False, name=None)
    ]


def _plain(text: str) -> str | int | float | None:
    """A kept field as JSON: blank → None, a number that is written as one → number, anything else as it is."""
    if text.lower() in units.EMPTY:
        return None
    if re.fullmatch(r"-?(0|[1-9]\d{0,17})", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+([eE][+-]?\d+)?", text):
        value = float(text)
        return value if math.isfinite(value) else text
    return text


def leaves_out(drive: Drive, samples: int) -> dict[str, int]:
    """How many usable rows are left out for which reason, because there are enough others."""
    moving = int(drive.labels.moving.sum())
    return {badrows.MOVING: moving} if moving and len(drive.labels.table) - moving >= samples else {}


def digests(drive: Drive) -> tuple[str, str, str]:
    """sha256 of the video, of the labels file, and of both together (the identity of the recording).

    Where frames are found by time, the labels are the CSV and the table of frame times.
    """
    video, table = sha256(drive.video), sha256(drive.labels_file)
    if drive.labels.times_file is not None:
        table = hashlib.sha256(f"{table} {sha256(drive.labels.times_file)}".encode()).hexdigest()
    return video, table, hashlib.sha256(f"{video} {table}".encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file, streamed; about a second per gigabyte."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DriveError(f"{path}: cannot be read ({error.strerror}); check the file and its rights") from None


def dropped_text(dropped: dict[str, int]) -> str:
    """The dropped rows in words: ``12 blank angle, 3 malformed line``."""
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items())


def _nothing_usable(video: Path, count: int, labels_file: Path, table: labels.Labels) -> str:
    if table.rows == 0:
        return f"labels {labels_file}: has no rows below its header; give the CSV with the measured gaze angles"
    if table.dropped.get(labels.PAST_END) and table.frames_named is not None:
        first, last = table.frames_named
        return (
            f"no overlap: labels {labels_file} name frames {first} to {last}, video {video} has frames 0 to "
            f"{count - 1}; give the CSV that belongs to this video"
        )
    return (
        f"labels {labels_file}: none of {table.rows} rows is usable ({dropped_text(table.dropped)}); "
        f"give a CSV with measured angles"
    )
