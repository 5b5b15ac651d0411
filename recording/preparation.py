"""Preparing samples: a folder of cropped pictures with their measured angles, made once from a drive.

Files appear whole or not at all (temporary name, then renamed), a sample counts once its ``_gt.json`` is there,
and ``drive.json`` says what the folder is made from. So a preparation that was killed continues where it was,
and the same inputs give the same bytes. What lies in the folder, and reading it: :mod:`recording.prepared`.
"""

import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from recording import (
    decoding,
    detection,
    face,
    files,
    fingerprint,
    label_frame,
    layouts,
    processors,
    progress,
    relative_to,
    sample_files,
    trace,
)
from recording import drive as drives
from recording.exceptions import InputError
from recording.pictures import encode
from recording.prepared import COMPLETE, DRIVE, FORMAT, TABLE, TIME, is_edited, is_jpeg, said_of_edits, table_damage

log = logging.getLogger("recording.preparation")

PREPARING = "preparing"
_HEADER_BYTES = 4096
"""Of a picture that :func:`recording.pictures.encode` wrote: more than what comes before its pixels."""
MOST_NAME_BYTES = 255
"""Of a file or folder, on every file system in use."""


def prepare(
    source: drives.Source, samples: int, out: Path, face_asked: str | None = face.AUTO, threads: int | None = None
) -> Path:
    """Write ``samples`` evenly spaced samples of a recording into the folder ``out`` and return it.

    ``face_asked``: the face rectangle that ``drive.json`` gets, ``auto``, ``none`` or ``x,y,w,h``
    (:func:`recording.detection.find`); a folder that is complete gets another one where that is asked for, and keeps
    its own for ``None``, which is ``auto`` otherwise. The pictures show the whole driver view in any case. ``threads``
    decode and write, by default one a core.
    Continues a preparation of the same inputs that was interrupted, and returns at once when it is complete.
    A second process preparing the same folder waits for the first. Raises :class:`InputError` when ``out``
    holds something else, the disk is full or a parameter is out of range, :class:`DriveError` when the
    recording cannot be used.
    """
    count, out = drives.sample_count(samples), Path(out)
    log.info("preparing %d samples of %s with %s into %s", count, source.video, source.labels, out)
    drive = drives.read(source)
    picked = drives.pick(drive, count)
    if len(picked) < count:
        log.warning("only %d usable rows: all of them are used instead of %d samples", len(picked), count)
    log.info("%s: %s", drive.labels_file, drive.labels.summary())
    _check_face(face.AUTO if face_asked is None else face_asked, drive)
    relative_to.check(source.label_frame)
    plan = _plan(drive, count, picked, source.label_offset_frames)
    with _reported(out), _locked(out):
        known = files.read_json(out / DRIVE) if (out / DRIVE).exists() else None
        _check_same(out, known, plan)
        if known is not None and known["status"] == COMPLETE:
            table = _table(out, known)
            if table is not None and _is_there(out, table.frames, tuple(drive.views)):
                log.info("%s is complete already: %d samples", out, len(table.frames))
                if face_asked is not None and known.get("face", {}).get("asked") != face_asked:
                    known |= _face(out, face_asked)
                    _write_json(out / DRIVE, known)
                if known.get("label_frame", {}).get("asked", relative_to.AUTO) != source.label_frame:
                    _write_json(out / DRIVE, known | _label_frame(drive, picked, source.label_frame))
                return out
            if table is None or not table.is_edited:  # what was edited stays
                (out / TABLE).unlink(missing_ok=True)
        _remove_torn(out)
        wanted = face_asked or (known or {}).get("face", {}).get("asked", face.AUTO)
        _write_json(out / DRIVE, plan | {"face": {"asked": wanted}})  # for whoever continues and asks for none
        lost, pictures = _extract(drive, picked, out, threads or processors.cores())
        trace.Trace(drive.labels.measured, *pictures.arrays()).write(out)
        plan |= _label_frame(drive, picked, source.label_frame)
        _finish(out, plan, drive, picked, lost, wanted)
    log.info("%s: %d samples ready", out, len(picked) - len(lost))
    return out


def place(work: Path, source: drives.Source, samples: int) -> Path:
    """The folder below ``work`` that belongs to these inputs alone: the same recording is prepared once."""
    video, track = source.video, source.track
    inputs = f"{video.resolve()} {source.labels.resolve()} {source.layout}" + ("" if track is None else f" {track}")
    digest = hashlib.sha256(inputs.encode()).hexdigest()[:8]
    shifted = f"-offset{source.label_offset_frames:g}" if source.label_offset_frames else ""
    ending = f"-{digest}-{samples}{shifted}"
    # What is cut off, the digest tells apart.
    stem = os.fsencode(video.stem)[: MOST_NAME_BYTES - len(ending)].decode(errors="ignore")
    return work / "prepared" / f"{stem}{ending}"


def _plan(drive: drives.Drive, count: int, picked: pd.DataFrame, label_offset_frames: float) -> dict[str, Any]:
    """What ``drive.json`` says before the first sample is written. Nothing in it depends on time or place."""
    video, table, recording = drives.digests(drive)
    return {
        "format": FORMAT,
        "status": PREPARING,
        "name": drive.name,
        "rendered": drive.rendered,
        "recording_sha256": recording,
        "video": {
            "file": drive.video.name,
            "sha256": video,
            "width": drive.index.width,
            "height": drive.index.height,
            "track": drive.index.track,
            "frames": drive.index.frames,
            "fps": round(drive.index.fps, 6),
        },
        "labels": {
            "file": drive.labels_file.name,
            "sha256": table,
            "rows": drive.labels.rows,
            "usable": len(drive.labels.table),
            "dropped": drive.labels.dropped | drives.leaves_out(drive, count),
            **({"offset_frames": label_offset_frames} if label_offset_frames else {}),
        },
        "layout": {
            "name": Path(drive.layout).name,
            "views": {name: vars(view) for name, view in drive.views.items()},
        },
        "samples": {"asked": count, "picked": len(picked)},
        "span": _span(drive),
    }


def _span(drive: drives.Drive) -> dict[str, Any]:
    """What ``drive.json`` says of the time that the drive takes: frames, and when they are shown."""
    ends = list(drive.span)
    return {"frames": ends, "seconds": [round(float(drive.index.seconds[frame]), 6) for frame in ends]}


def _check_face(asked: str, drive: drives.Drive) -> None:
    """A rectangle that does not fit into the driver view is found now, not when all pictures are written."""
    given, driver = face.parse(asked), drive.views["driver"]
    if given is not None:
        face.Face(driver.w, driver.h, given)


IDENTITY: dict[str, Callable[[dict[str, Any]], Any]] = {
    "format": lambda plan: plan["format"],
    "video": lambda plan: plan["video"]["sha256"],
    "track": lambda plan: plan["video"].get("track", 0),
    "labels": lambda plan: plan["labels"]["sha256"],
    "label_offset_frames": lambda plan: plan["labels"].get("offset_frames", 0.0),
    "layout": lambda plan: plan["layout"]["views"],
    "samples": lambda plan: plan["samples"]["asked"],
}
"""What two preparations must have in common for the second to continue the first."""


def _check_same(out: Path, known: dict[str, Any] | None, plan: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but an earlier preparation of the same inputs."""
    if known is None:
        others = sorted(path.name for path in out.iterdir() if not path.name.endswith(files.UNFINISHED))
        if others:
            raise InputError(
                f"folder {out}: holds {others[0]} and more that prepare did not make; give another out folder"
            )
        return
    try:
        differing = [name for name, value in IDENTITY.items() if value(known) != value(plan)]
        if known["status"] == COMPLETE:
            int(known["samples"]["kept"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{out / DRIVE}: was not written by prepare; give another out folder") from None
    if differing:
        raise InputError(
            f"folder {out}: was prepared with other {' and '.join(differing)}; give another out folder or delete it"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the folder for this process; another one that prepares it waits. The lock dies with its process."""
    files.check_links(out)
    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process prepares %s: waiting for it", out)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _reported(out: Path) -> Iterator[None]:
    """Turn what the file system refuses while ``out`` is written into one line."""
    try:
        yield
    except (OSError, files.DiskFull) as error:
        if isinstance(error, files.DiskFull) or files.is_full(error):
            raise InputError(_full(out)) from error
        raise InputError(
            f"folder {out}: cannot be written ({error.strerror}); make it writable, or choose another"
        ) from error


def _full(out: Path) -> str:
    pictures = [path.stat().st_size for path in out.glob("frame_*") if path.is_file()]
    done = sum(path.name.endswith(sample_files.TRUTH) for path in out.glob("frame_*"))
    plan = files.read_json(out / DRIVE) if (out / DRIVE).is_file() else None
    needed = ""
    if plan is not None and done:
        left = plan["samples"]["picked"] - done
        needed = f"about {left * sum(pictures) // done:,} bytes are needed for the {left} samples that are left, "
    free = shutil.disk_usage(out).free
    return (
        f"disk full while writing {out}: {needed}{free:,} are free; make room and run the same again: "
        f"it continues after {done} samples"
    )


def _remove_torn(out: Path) -> None:
    for path in out.glob(f"*{files.UNFINISHED}"):
        path.unlink()


class _Table(NamedTuple):
    """``samples.csv`` of a complete folder: its frames, and whether it is other than prepare wrote it."""

    frames: list[int]
    is_edited: bool


def _table(out: Path, known: dict[str, Any]) -> _Table | None:
    """The table of a complete folder; None, and it is said, where it is gone or damaged, and is to be made again."""
    try:
        content = (out / TABLE).read_bytes()
        if why := table_damage(content):
            log.warning("%s: is damaged (%s) and is made again", out / TABLE, why)
            return None
        frames = pd.read_csv(io.BytesIO(content), usecols=["frame"])["frame"].astype(np.int64).tolist()
    except (OSError, ValueError) as error:
        log.warning("%s: cannot be read (%s) and is made again", out / TABLE, " ".join(str(error).split()))
        return None
    edited = is_edited(known, content)
    if edited:
        log.warning("%s", said_of_edits(out, known, len(frames)))
    return _Table(frames, edited)


def _is_there(out: Path, frames: list[int], views: tuple[str, ...]) -> bool:
    """Whether nothing is missing of a complete folder; what is gone is made again, as after an interruption."""
    gone = [frame for frame in frames if not _is_whole(out, frame, views)]
    if gone:
        log.warning(
            "%s: %d of %d samples are gone or damaged (%s) and are made again", out, len(gone), len(frames), gone[:5]
        )
    torn = [name for name, read in _BESIDES.items() if not _is_readable(out, read)]
    if torn:
        log.warning("%s: %s: gone or damaged, and made again", out, " and ".join(torn))
    return not gone and not torn


_BESIDES: dict[str, Callable[[Path], object]] = {trace.FILE: trace.read, fingerprint.FILE: fingerprint.read}
"""Files of a prepared folder beside the samples and their table, and who reads them."""


def _is_readable(out: Path, read: Callable[[Path], object]) -> bool:
    try:
        return read(out) is not None
    except InputError:
        return False


def _is_whole(out: Path, frame: int, views: tuple[str, ...]) -> bool:
    """Whether a sample is on disk, whole: its ``_gt.json`` is written last."""
    truth, *pictures = _files(out, frame, views)
    return truth.is_file() and _is_readable(truth, files.read_json) and all(map(_is_whole_picture, pictures))


def _is_whole_picture(path: Path) -> bool:
    """Whether a picture begins and ends as one; what lies between is not read."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        begins = file.read(_HEADER_BYTES)
        file.seek(max(len(begins), path.stat().st_size - _HEADER_BYTES))
        return is_jpeg(begins + file.read())


def _files(out: Path, frame: int, views: tuple[str, ...]) -> list[Path]:
    stem = sample_files.stem(frame)
    return [out / name for name in (sample_files.truth(stem), *(sample_files.picture(stem, view) for view in views))]


def _extract(
    drive: drives.Drive, picked: pd.DataFrame, out: Path, threads: int
) -> tuple[dict[int, str], trace.Glimpses]:
    """Write the samples that are not there yet; returns the frames left out with the reason, and the small pictures."""
    views = tuple(drive.views)
    rows = {row["frame"]: row for row in drives.records(picked)}
    todo = [frame for frame in rows if not _is_whole(out, frame, views)]
    there = len(rows) - len(todo)
    if there:
        log.info("continuing: %d of %d samples are there", there, len(rows))
    made = _is_readable(out, fingerprint.read)
    recorder = fingerprint.Recorder(drive.index.seconds, drive.views["driver"], [] if made else list(rows))
    glimpses = trace.Glimpses(drive.views["driver"])
    shown = trace.stretches(drive.labels.measured, drive.index.frames)
    besides = decoding.Besides(frozenset(shown.tolist()), glimpses.take)
    with (
        progress.bar(len(rows), there, "frames", "frame") as bar,
        _Writer(out, drive.views, rows, bar, threads) as writer,
    ):
        deliver = recorder.before(writer.take, frozenset(todo))
        wanted = {*todo, *recorder.frames}
        lost = decoding.read(drive.video, drive.index, wanted, deliver, threads, besides, before=rows)
    if not made:
        fingerprint.write(out, recorder.fingerprint())
    lost = {frame: reason for frame, reason in lost.items() if frame in rows}
    for frame in lost:  # written already, where only a second look told
        for path in _files(out, frame, views):
            path.unlink(missing_ok=True)
    for reason, count in Counter(lost.values()).items():
        first = [frame for frame, why in lost.items() if why == reason][:5]
        log.warning("%s: %d frames left out (%s): %s …", drive.video, count, reason, first)
    return lost, glimpses


class _Writer:
    """Encodes and writes samples in threads of its own, so that decoding goes on meanwhile.

    A few pictures wait at most: :meth:`take` blocks when the writers are behind. The first error of a writer is
    raised by the next :meth:`take`, or when the block ends.
    """

    def __init__(
        self, out: Path, views: dict[str, layouts.View], rows: dict[int, dict[str, Any]], bar: "tqdm[Any]", threads: int
    ):
        self.out, self.views, self.rows, self.bar = out, views, rows, bar
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
        self.room = threading.BoundedSemaphore(4 * threads)
        self.lock = threading.Lock()
        self.failure: BaseException | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=kind is not None)
        if self.failure is not None and kind is None:
            raise self.failure

    def take(self, frame: int, picture: np.ndarray) -> None:
        """Queue one composite picture, (h, w, 3) uint8 BGR, to be cut and written."""
        self.room.acquire()
        if self.failure is not None:
            self.room.release()
            raise self.failure
        self.pool.submit(self._write, frame, picture).add_done_callback(self._done)

    def _write(self, frame: int, picture: np.ndarray) -> None:
        stem = sample_files.stem(frame)
        for name, view in self.views.items():
            crop = picture[view.y : view.y + view.h, view.x : view.x + view.w]
            files.write_bytes(self.out / sample_files.picture(stem, name), encode(crop, for_people=name != "driver"))
        _write_json(self.out / sample_files.truth(stem), self.rows[frame])
        with self.lock:
            self.bar.update()

    def _done(self, job: Future[None]) -> None:
        self.room.release()
        if not job.cancelled() and job.exception() is not None:
            self.failure = self.failure or job.exception()


def _finish(
    out: Path, plan: dict[str, Any], drive: drives.Drive, picked: pd.DataFrame, lost: dict[int, str], face_asked: str
) -> None:
    """Write ``samples.csv``, unless an edited one is there, and mark the folder complete."""
    kept = picked[~picked["frame"].isin(list(lost))].reset_index(drop=True)
    if kept.empty:
        raise InputError(f"video {plan['video']['file']}: none of {len(picked)} frames can be used; export it again")
    table = pd.DataFrame({"frame": kept["frame"]})
    for view in layouts.VIEWS:
        if view in drive.views:
            table[view] = [sample_files.picture(sample_files.stem(frame), view) for frame in kept["frame"]]
    table = pd.concat([table, kept.drop(columns=["frame", TIME], errors="ignore")], axis=1)
    seconds = drive.index.seconds[kept["frame"].to_numpy()].round(6)
    table.insert(list(table).index("elevation_deg") + 1, TIME, seconds)
    content = table.to_csv(index=False, lineterminator="\n").encode()
    if not (out / TABLE).is_file():
        files.write_bytes(out / TABLE, content)
    done = json.loads(json.dumps(plan))
    done["status"] = COMPLETE
    done["samples"] |= {"kept": len(kept), "table_sha256": hashlib.sha256(content).hexdigest()}
    if lost:
        done["samples"]["dropped"] = dict(Counter(lost.values()))
    _write_json(out / DRIVE, done | _face(out, face_asked))


def _face(out: Path, asked: str) -> dict[str, Any]:
    """What ``drive.json`` says of the face. It is looked for in the files: what an interruption left counts alike."""
    table = pd.read_csv(out / TABLE, dtype={"driver": str}, usecols=["driver"])
    chosen = detection.find([out / name for name in table["driver"]], asked)
    log.log(logging.WARNING if chosen.is_loud else logging.INFO, "%s", chosen.describe())
    return {"face": {"asked": asked} | chosen.to_json()}


def _label_frame(drive: drives.Drive, picked: pd.DataFrame, asked: str) -> dict[str, Any]:
    """What ``drive.json`` says of what the angles count from."""
    found = label_frame.find(picked, drive.labels.measured, drive.index.fps, asked)
    log.log(logging.WARNING if found.is_loud else logging.INFO, "%s: %s", drive.labels_file, found.line())
    return {"label_frame": found.to_json()}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    files.write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
