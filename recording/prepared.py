"""A folder of prepared samples, as everybody reads it: cropped pictures with their measured angles.

A prepared folder (:mod:`recording.preparation` writes it) holds per sample ``frame_01234_driver.jpg``, ``_road.jpg``
and ``_camera.jpg`` where the layout has them, and ``frame_01234_gt.json``; for all together ``samples.csv`` and
``drive.json``. A *bare* folder holds only ``*_driver.jpg`` and ``*_gt.json``, as users have them today.
"""

import hashlib
import io
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recording import badrows, face, files, ground_truth, layouts, preprocess, sample_files, sample_numbers, units
from recording.exceptions import InputError
from recording.pictures import SUFFIXES

log = logging.getLogger("recording.prepared")

TABLE, DRIVE = "samples.csv", "drive.json"
TIME = "time_s"
"""Column of the table: when the sample's frame is shown, seconds after the recording's first frame."""
FORMAT = 1
"""Of the prepared folder; another number means that it must be prepared again."""
TIME_ROUNDING_S = 1e-3
"""Times closer than this to a constant rate are that rate: the table has microseconds, ``fps`` six decimals."""
COMPLETE = "complete"
FARTHEST_FRAMES = 1800
"""From one sample of a bare folder to the next, usually: a minute, beyond which numbers in file names are no frames."""
LAST_FRAME = 10_000_000
"""Of a bare folder: days, beyond which numbers in file names are times or dates."""
PREPARE_COMMAND = "python -m training prepare --video VIDEO --labels CSV --out FOLDER"


@dataclass(frozen=True)
class Span:
    """First and last frame of a drive, and when they are shown: seconds after the recording's first frame."""

    frames: tuple[int, int]
    seconds: tuple[float, float]

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Span":
        """What ``drive.json`` says; :class:`ValueError`, :class:`TypeError` or :class:`KeyError` for anything else."""
        (start, end), (began, ended) = said["frames"], said["seconds"]
        return cls((int(start), int(end)), (float(began), float(ended)))


@dataclass(frozen=True)
class Samples:
    """Samples on disk.

    ``table``: one row per sample, sorted by frame: ``frame`` (int), ``driver`` (file name), ``road`` (file name,
    "" where there is none), ``azimuth_deg``, ``elevation_deg``, then the columns kept from the labels; ``time_s``
    where the folder has it. ``fps``: usual rate of the recording, 30 when unknown. ``digest``: sha256 over driver
    pictures and angles. ``drive``: sha256 of the recording (video and labels); of a bare folder, the digest.
    ``rendered``: the recording is the rendered sample drive. ``layout``: where the pictures lay in the video, None
    for a bare folder, which does not say. ``chosen``: the face rectangle that the pictures are cut to on their way to
    the network, ``None`` where nobody has looked for one yet. ``driver``: who drives, "" where nobody said.
    ``warnings``: what the reader warned of, for whoever shows no log. ``span``: the time that the drive takes, None
    where the folder does not say: one that was prepared before it was written down, or a bare one.
    """

    folder: Path
    name: str
    table: pd.DataFrame
    fps: float
    digest: str
    drive: str
    rendered: bool
    layout: layouts.Layout | None
    chosen: face.Choice | None = None
    driver: str = ""
    warnings: tuple[str, ...] = ()
    span: Span | None = None

    @property
    def measured_deg(self) -> np.ndarray:
        """(n, 2) measured azimuth and elevation, degrees."""
        return np.asarray(self.table[["azimuth_deg", "elevation_deg"]], dtype=np.float64)

    @property
    def seconds(self) -> np.ndarray:
        """(n,) when each sample was shown, seconds after the recording's first frame.

        The frame's number over the rate where that is constant (or nothing else is known), else the time in the table.
        """
        counted = self.table["frame"].to_numpy(np.int64) / self.fps
        if TIME in self.table:
            times = pd.to_numeric(self.table[TIME], errors="coerce").to_numpy(np.float64)
            if np.any(np.abs(times - counted) > TIME_ROUNDING_S):
                return np.asarray(times, np.float64)
        return np.asarray(counted, np.float64)

    @property
    def is_bare(self) -> bool:
        """Whether it is pictures and angles alone: the numbers in the files' names may be no frames of a recording."""
        return self.layout is None

    def driver_file(self, row: int) -> Path:
        """The driver picture of a row."""
        return self.folder / str(self.table["driver"].iat[row])

    def driver_files(self) -> list[Path]:
        """The driver pictures, in order."""
        return [self.driver_file(row) for row in range(len(self.table))]

    def road_file(self, row: int) -> Path | None:
        """The road picture of a row, None where there is none."""
        name = str(self.table["road"].iat[row])
        return self.folder / name if name else None


def load(folder: Path) -> Samples:
    """Read a prepared folder, or a bare one with only ``*_driver.jpg`` and ``*_gt.json``.

    In a prepared folder a missing or damaged file is an error. In a bare one such a sample is left out and
    counted in a warning. Raises :class:`InputError` when there are no samples, the preparation is unfinished, or the
    folder cannot be read.
    """
    folder = Path(folder)
    try:
        if not folder.is_dir():
            raise InputError(f"samples folder {folder}: no such folder; make it with: {PREPARE_COMMAND}")
        return _load_prepared(folder) if (folder / DRIVE).is_file() else _load_bare(folder)
    except OSError as error:  # a name too long, no permission, a disk that is gone
        raise InputError(f"samples folder {folder!s:.300}: cannot be read ({error.strerror}); give another") from None


def sizes(samples: Samples) -> set[tuple[int, int]]:
    """The (width, height) that the driver pictures have, as stored."""
    paths = samples.driver_files()
    return {preprocess.encoded_size(_read_bytes(path), str(path)) for path in paths}


def driver_pictures(samples: Samples, size: int = preprocess.INPUT_SIZE, threads: int = 2) -> np.ndarray:
    """All driver pictures as the network reads them: (n, size, size, 3) uint8 RGB, in the order of the table."""
    pictures = np.empty((len(samples.table), size, size, 3), np.uint8)
    at = 0
    for batch in iterate_pictures(samples, np.arange(len(pictures)), 64, size, threads):
        pictures[at : at + len(batch)] = batch
        at += len(batch)
    return pictures


def iterate_pictures(
    samples: Samples, indices: np.ndarray, batch: int, size: int = preprocess.INPUT_SIZE, threads: int = 2
) -> Iterator[np.ndarray]:
    """Driver pictures of the rows ``indices`` in batches of at most ``batch``: (b, size, size, 3) uint8 RGB.

    The pictures are cut to the face rectangle and go through :mod:`recording.preprocess`, so they are the pixels that
    serving sees. The next batch decodes while the present one is used; no more than two are in memory.
    """
    names = samples.table["driver"].to_numpy()[np.asarray(indices, dtype=np.int64)]
    cut = face.cutter(samples.chosen.face if samples.chosen else None)

    def picture(name: str) -> np.ndarray:
        path = samples.folder / name
        return preprocess.read(_read_bytes(path), str(path), cut, size)

    parts = [names[start : start + batch] for start in range(0, len(names), batch)]
    with ThreadPoolExecutor(threads, thread_name_prefix="pictures") as pool:
        present: list[Future[np.ndarray]] = []
        for part in [*parts, []]:
            following = [pool.submit(picture, name) for name in part]
            if present:
                yield np.stack([job.result() for job in present])
            present = following


def _load_prepared(folder: Path) -> Samples:
    about = files.read_json(folder / DRIVE)
    again = f"run prepare again: {PREPARE_COMMAND}"
    if about.get("format") != FORMAT:
        raise InputError(f"{folder / DRIVE}: format {about.get('format')!r} is not {FORMAT}; {again}")
    if about.get("status") != COMPLETE:
        raise InputError(f"samples folder {folder}: its preparation was interrupted; {again}, it continues")
    try:
        table = _read_table(folder, about)
        angles = table[["driver", "azimuth_deg", "elevation_deg"]].itertuples(index=False, name=None)
        video, fps, recording = about["video"], about["video"]["fps"] or layouts.DEFAULT_FPS, about["recording_sha256"]
        layout = layouts.parse(
            {"width": video["width"], "height": video["height"], "views": about["layout"]["views"]},
            about["layout"]["name"],
        )
        rendered, name = about["rendered"], about["name"]
        chosen = face.Choice.from_json(about["face"], layout.views["driver"]) if "face" in about else None
        span = Span.from_json(about["span"]) if "span" in about else None
    except (OSError, ValueError, LookupError, TypeError, InputError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"samples folder {folder}: cannot be read ({reason}); delete it and {again}") from None
    if table.empty:
        raise InputError(f"samples folder {folder}: {TABLE} holds no samples; delete {TABLE} and {again}")
    if "road" not in table:
        table.insert(2, "road", "")
    table["road"] = table["road"].fillna("")
    digest = hashlib.sha256()
    for file, azimuth, elevation in angles:
        _check_row(folder, file, azimuth, elevation)
        picture = _read_bytes(folder / file)
        if not is_jpeg(picture):
            raise InputError(f"{folder / file}: is damaged; {again}")
        _add_to_digest(digest, hashlib.sha256(picture).digest(), azimuth, elevation)
    return Samples(folder, name, table, fps, digest.hexdigest(), recording, rendered, layout, chosen, span=span)


def _read_table(folder: Path, about: dict[str, Any]) -> pd.DataFrame:
    """``samples.csv``; ``ValueError`` where it is damaged, and a warning where it is not as prepare wrote it."""
    content = (folder / TABLE).read_bytes()
    if why := table_damage(content):
        raise ValueError(f"{TABLE} is damaged: {why}")
    # Python's own float reads back exactly what was written.
    exact = dict.fromkeys(ground_truth.ANGLES, float)
    table = pd.read_csv(io.BytesIO(content), dtype=dict.fromkeys(layouts.VIEWS, str), converters=exact)
    if is_edited(about, content):
        log.warning("%s", said_of_edits(folder, about, len(table)))
    return table


def is_edited(about: dict[str, Any], content: bytes) -> bool:
    """Whether the bytes of ``samples.csv`` are others than prepare wrote, as far as ``drive.json`` says.

    A table may be edited, to leave out samples or to mend angles; one that was cut off where a line ends looks alike.
    """
    written = about["samples"].get("table_sha256")
    return written is not None and written != hashlib.sha256(content).hexdigest()


def said_of_edits(folder: Path, about: dict[str, Any], rows: int) -> str:
    """A line about a table, of so many ``rows``, that is not as prepare wrote it."""
    return (
        f"{folder / TABLE}: is not as prepare wrote it: it holds {rows} of {about['samples']['kept']} samples; where "
        f"you did not edit it, it was cut off or damaged: delete it and run prepare again, which makes it anew"
    )


def table_damage(content: bytes) -> str:
    """How the bytes of a ``samples.csv`` show that no program wrote them so, "" where they do not."""
    if b"\0" in content:
        return "zeros where text should be"
    lines = content.rstrip(b"\r\n").split(b"\n")
    if not content.endswith(b"\n") and lines[-1].count(b",") < lines[0].count(b","):
        return f"its last line ends with {lines[-1][-30:].decode(errors='replace')!r}"
    return ""


def _check_row(folder: Path, file: str, azimuth: float, elevation: float) -> None:
    if Path(file).name != file:
        raise InputError(f"{folder / TABLE}: names {file!r}, which is not in the folder; prepare it again")
    for value, limit in ((azimuth, units.AZIMUTH_LIMIT_DEG), (elevation, units.ELEVATION_LIMIT_DEG)):
        if not abs(value) <= limit:  # NaN as well
            raise InputError(
                f"{folder / TABLE}: {file} has the angle {value:g}, not one within ±{limit:g} degrees; prepare it again"
            )


def _load_bare(folder: Path) -> Samples:
    found = sample_files.pictures(folder)
    if not found:
        raise InputError(
            f"no samples found in {folder}: looked for {TABLE} with {DRIVE}, and for *_driver.jpg (or "
            f"{', '.join(SUFFIXES[1:])}) with *_gt.json; make them with: {PREPARE_COMMAND}"
        )
    roads = sample_files.pictures(folder, "road")
    pictures = sorted(several[0] for several in found.values())
    rows: list[dict[str, Any]] = []
    content: list[bytes] = []
    positions: list[int] = []
    damaged: list[str] = []
    wrong_angles: list[str] = []
    blank: dict[str, list[str]] = {}
    scales = ground_truth.scales(folder, pictures)
    for position, path in enumerate(pictures):
        road = roads.get(sample_files.stem_of(path.name))
        try:
            files.check_name(path, "picture")
            row = ground_truth.row(path, road[0].name if road else "", scales)
            picture = _read_bytes(path)
            preprocess.decode(picture, str(path))
        except InputError as reason:
            if isinstance(reason, ground_truth.WrongAngle):
                wrong_angles.append(str(reason))
            elif isinstance(reason, ground_truth.BlankAngle):
                blank.setdefault(reason.column, []).append(str(reason))
            damaged.append(str(reason))
            continue
        rows.append(row)
        content.append(hashlib.sha256(picture).digest())
        positions.append(position)
    if not rows:
        raise InputError(f"no samples found in {folder}: none of {len(pictures)} is usable, the first: {damaged[0]}")
    table = pd.DataFrame(rows)
    of = len(pictures)
    _check_classes(folder, table, wrong_angles, of)
    _check_blank(folder, table, blank, of)
    _check_zeros(folder, table)
    drivers = [row["driver"] for row in rows]
    table["frame"], doubt = sample_numbers.frames(drivers, [row["frame"] for row in rows], positions)
    order = np.lexsort((table["driver"], table["frame"]))
    table = table.iloc[order].reset_index(drop=True)
    warnings = (
        *_said_of_what_is_lost(folder),
        *_said_of_damage(folder, damaged, of),
        *_said_of_files(folder, found),
        *_said_of_zeros(folder, table),
        *_said_of_numbers(folder, table, doubt),
    )
    for warning in warnings:
        log.warning("%s", warning)
    digest = hashlib.sha256()
    for position, azimuth, elevation in zip(order, table["azimuth_deg"], table["elevation_deg"], strict=True):
        _add_to_digest(digest, content[position], azimuth, elevation)
    named = digest.hexdigest()
    samples = Samples(folder, folder.name, table, layouts.DEFAULT_FPS, named, named, rendered=False, layout=None)
    return replace(samples, warnings=warnings)


def _check_classes(folder: Path, table: pd.DataFrame, wrong_angles: list[str], of: int) -> None:
    """Refuse a folder that would lose a class of samples for how their angles are written."""
    wrong = len(wrong_angles)
    one_sided = any(badrows.leaves_one_side(wrong, of, table[column]) for column in ground_truth.ANGLES)
    if one_sided or badrows.is_class(wrong, of):
        left = ", and what is left lies on one side of 0" if one_sided else ""
        raise InputError(
            f"samples folder {folder}: {wrong} of {of} samples would be left out for how their angles are written"
            f"{left}, the first: {wrong_angles[0]}; mend them, or remove these samples to go on without"
        )


def _check_blank(folder: Path, table: pd.DataFrame, blank: dict[str, list[str]], of: int) -> None:
    """Refuse a folder that has lost all looks to one side; ``blank``: what is said of samples that lack one angle."""
    for column, said in blank.items():
        if badrows.leaves_one_side(len(said), of, table[column]):
            raise InputError(
                f"samples folder {folder}: {len(said)} of {of} samples have one angle and no {column}, and what is "
                f"left lies on one side of 0, {badrows.BLANKED}, or remove these samples to go on without; the first: "
                f"{said[0]}"
            )


def _check_zeros(folder: Path, table: pd.DataFrame) -> None:
    """Refuse a folder whose azimuths of one side were written as 0."""
    if zeros := badrows.zeros_for_a_side(table["azimuth_deg"], table["elevation_deg"]):
        raise InputError(
            f"samples folder {folder}: {_zeros(table, 'azimuth_deg', zeros)}, or remove these samples to go on without"
        )


def _said_of_zeros(folder: Path, table: pd.DataFrame) -> Iterator[str]:
    """A line where elevations of one side may have been written as 0: trackers may end at the horizon."""
    if zeros := badrows.zeros_for_a_side(table["elevation_deg"], table["azimuth_deg"]):
        yield f"{folder}: {_zeros(table, 'elevation_deg', zeros)}; they are used as they are"


def _zeros(table: pd.DataFrame, column: str, zeros: int) -> str:
    first = table["driver"][table[column] == 0].iat[0]
    return (
        f"{column} is exactly 0 in {zeros} of {len(table)} samples (the first is {first}), and all others lie on one "
        f"side of 0, {badrows.ZEROED}"
    )


def _said_of_what_is_lost(folder: Path) -> Iterator[str]:
    """A line where the folder was prepared, as its table shows, and does not say any more from what."""
    if (folder / TABLE).is_file():
        yield (
            f"{folder}: has {TABLE} and no {DRIVE}, so only its pictures and *{sample_files.TRUTH} are read, as of "
            f"{layouts.DEFAULT_FPS:g} frames a second: what was edited in the table, layout and face rectangle count "
            f"for nothing; put {DRIVE} back, or prepare the recording into another folder"
        )


def _said_of_damage(folder: Path, damaged: list[str], of: int) -> Iterator[str]:
    """A line that counts the samples that were left out, where there are any."""
    if damaged:
        yield f"{folder}: {len(damaged)} of {of} samples left out, the first: {damaged[0]}"


def _said_of_files(folder: Path, found: dict[str, list[Path]]) -> Iterator[str]:
    """Lines about samples with several pictures or without one."""
    several = [paths for paths in found.values() if len(paths) > 1]
    if several:
        read, other = (path.name for path in several[0][:2])
        yield f"{folder}: samples with several pictures: {len(several)}; one is read, as {read} and not {other}"
    truths = {path.name.removesuffix(sample_files.TRUTH) for path in folder.glob(f"*{sample_files.TRUTH}")}
    if alone := sorted(truths - found.keys()):
        yield (
            f"{folder}: {len(alone)} of {len(truths)} *{sample_files.TRUTH} have no picture that is read beside them "
            f"(*_driver with one of {', '.join(SUFFIXES)}), the first: {sample_files.truth(alone[0])}"
        )


def _said_of_numbers(folder: Path, table: pd.DataFrame, doubt: str) -> Iterator[str]:
    """Lines where the samples' numbers may not be those of frames, for the reason ``doubt``, or cannot be."""
    remedy = "name the files by their frames, frame_00123_driver.jpg"
    if doubt:
        yield f"{folder}: {doubt}; by these numbers the samples are split and joined to their times: {remedy}"
    apart = float(np.median(np.diff(table["frame"]))) if len(table) > 1 else 0.0
    last = int(table["frame"].iat[-1])
    if apart > FARTHEST_FRAMES or last > LAST_FRAME:
        yield (
            f"{folder}: the numbers in its file names, as in {table['driver'].iat[0]}, are taken for frames at "
            f"{layouts.DEFAULT_FPS:g} a second, and are {apart:.0f} apart, up to {last}: splits by time and the search "
            f"for the same recording elsewhere mean nothing with them; {remedy}"
        )


def _add_to_digest(digest: "hashlib._Hash", picture_sha256: bytes, azimuth: float, elevation: float) -> None:
    digest.update(picture_sha256)
    digest.update(f" {float(azimuth)!r} {float(elevation)!r}\n".encode())


def is_jpeg(content: bytes) -> bool:
    """Whether the bytes begin as a JPEG with a size and end as one: a torn file does not."""
    try:
        width, height = preprocess.encoded_size(content)
    except InputError:
        return False
    return content[:2] == b"\xff\xd8" and width > 0 < height and b"\xff\xd9" in content[-64:]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); prepare the folder again") from None
