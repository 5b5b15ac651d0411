"""``python -m serving predict``: angles of images, folders and videos."""

import argparse
import csv
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from tqdm import tqdm

from recording import arrows, decoding, labels, prepared, preprocess, sample_files, sample_numbers, video
from recording import frames as indices
from recording import pictures as encoded
from recording.badrows import MOVING, ON_BAD_ROWS, STOP
from recording.exceptions import InputError
from recording.face import Choice
from recording.files import check_apart, check_ending, given_path, writing_text
from recording.frames import Index
from recording.processors import cores
from registry.crop import Crop
from registry.faces import Shown, settle
from serving import cache, crops, pictures, videos
from serving.batching import Batcher
from serving.loader import Loader
from serving.predictor import Predictor
from serving.selection import add_selector, selector

# Pictures that are decoded ahead of their answers: keeps every core busy and bounds memory.
_AHEAD = 64
_TABLES = (".csv", ".tsv", ".json", ".txt", ".md", ".npz", ".npy", ".parquet", ".yaml", ".yml", ".log")
"""Endings of what lies beside pictures and is none."""


@dataclass(frozen=True)
class Row:
    """One answer: the file, the frame where it is a video, and the angles in degrees."""

    file: str
    frame: int | None
    azimuth_deg: float
    elevation_deg: float

    def with_origin(self, predictor: Predictor) -> dict[str, object]:
        """The row as it is printed, with the version that answered."""
        fields: dict[str, object] = {"file": self.file}
        if self.frame is not None:
            fields["frame"] = self.frame
        # Added zero: "-0.0" would only puzzle.
        angles = {"azimuth_deg": round(self.azimuth_deg, 4) + 0.0, "elevation_deg": round(self.elevation_deg, 4) + 0.0}
        return fields | angles | {"model": predictor.model, "version": predictor.version}


def main(argv: list[str]) -> int:
    """Parse, load by stage, print one line per image or video frame."""
    parser = argparse.ArgumentParser(
        prog="python -m serving predict",
        description="Angles in degrees (azimuth positive to the driver's right, elevation positive up) of images, "
        "folders of images and videos, by the version in the stage.",
    )
    parser.add_argument("inputs", nargs="+", type=given_path, metavar="IMAGE|FOLDER|VIDEO")
    add_selector(parser)
    parser.add_argument("--crop", choices=crops.CHOICES, default="auto", help="what the pictures show (%(default)s)")
    parser.add_argument("--format", choices=("json", "csv"), default="json", help="lines of JSON, or CSV (%(default)s)")
    parser.add_argument("--out", type=given_path, help="write the lines here instead of to the standard output")
    parser.add_argument("--annotated", type=given_path, help="also write the video here with the gaze drawn in (.mp4)")
    parser.add_argument("--track", type=int, help="which film of a video that holds several, from 0")
    parser.add_argument("--labels", type=given_path, help="CSV of measured angles, drawn beside the prediction")
    parser.add_argument(
        "--on-bad-rows",
        choices=ON_BAD_ROWS,
        default=STOP,
        help="when a class of rows of the CSV cannot be read (%(default)s)",
    )
    parser.add_argument(
        "--label-offset-frames",
        type=float,
        default=0.0,
        metavar="N",
        help="by how many frames the rows of the CSV come too late (%(default)g)",
    )
    given = parser.parse_args(argv)
    with cache.opened(given.cache) as copies:
        return _predict(given, copies)


def _predict(given: argparse.Namespace, copies: Path) -> int:
    """The answers to what was ``given``, by a version whose copy is kept in ``copies``; the exit status."""
    files = [file for path in given.inputs for file in _files(path)]
    check_apart(
        {"--annotated": given.annotated, "--out": given.out},
        {"the input": files, "the labels file": [given.labels] if given.labels else []},
    )
    is_clip = [_is_video(file) for file in files]
    clips = list(compress(files, is_clip))
    images = [file for file, clip in zip(files, is_clip, strict=True) if not clip]
    if given.annotated:
        check_ending(f"--annotated {given.annotated}", given.annotated, videos.SUFFIXES)
        if len(clips) != 1:
            raise InputError(f"--annotated writes a copy of one video, but {len(clips)} are given")
    if given.labels and not given.annotated:
        raise InputError("--labels is drawn into the copy that --annotated names; give --annotated too")
    index = indices.scan(clips[0], given.track) if given.labels else None
    gaze = measured(given.labels, index, given.on_bad_rows, given.label_offset_frames) if index else {}
    with ExitStack() as stack:
        loader = Loader(selector(given), copies)
        predictor = loader.load(loader.find())
        write = stack.enter_context(_writer(given.out, given.format, predictor, framed=bool(clips)))
        session = stack.enter_context(_session(predictor, given.crop))
        for row in session.images(images, [path for path in given.inputs if path.is_dir()]):
            write(row)
        for clip in clips:
            for row in session.video(clip, index or indices.scan(clip, given.track), given.annotated, gaze):
                write(row)
    return 0


class Session:
    """A predictor with its inference and decoding threads, answering in the order of the inputs."""

    def __init__(self, predictor: Predictor, batcher: Batcher, pool: ThreadPoolExecutor, crop: str) -> None:
        self._predictor = predictor
        self._batcher = batcher
        self._pool = pool
        self._crop = crop
        self._promised = predictor.contract.crop

    def images(self, files: list[Path], folders: Sequence[Path] = ()) -> Iterator[Row]:
        """One row per file; :class:`InputError` names the first that is no picture.

        Where the version has to find the face, the pictures of each of the ``folders`` are taken to be of one drive, as
        all others together are.
        """
        drives = [file.parent if file.parent in folders else None for file in files]
        promised = self._promises(files, drives)

        def answer(file: Path, drive: Path | None) -> Future[np.ndarray]:
            return self._submit(pictures.read(_read(file), str(file), crop=self._crop, promised=promised[drive]))

        jobs = ((file, self._pool.submit(answer, file, drive)) for file, drive in zip(files, drives, strict=True))
        progress = tqdm(_ahead(jobs), total=len(files), desc="images", unit="image", disable=_quiet(len(files)))
        for file, job in progress:
            azimuth, elevation = job.result().result()
            yield Row(str(file), None, float(azimuth), float(elevation))

    def video(
        self,
        path: Path,
        index: Index,
        annotated: Path | None = None,
        measured: Mapping[int, tuple[float, float]] = MappingProxyType({}),
    ) -> Iterator[Row]:
        """One row per sound frame; writes the copy with arrows to ``annotated`` while it goes.

        ``measured``: frame → azimuth and elevation, degrees, drawn beside the prediction.
        How many frames were damaged, and so left out, is said on the standard error.
        """
        count = index.frames
        promised = videos.settled(path, index, range(count), self._crop, self._promised, _say)
        answered = 0
        with videos.copying(annotated, index.fps) if annotated else nullcontext() as copy:
            jobs = (
                (number, frame, self._pool.submit(self._answer_frame, frame, promised, f"{path} frame {number}"))
                for number, frame in decoding.in_order_rgb(path, index)
            )
            # Whole frames wait in this queue: fewer of them than of small pictures.
            progress = tqdm(_ahead(jobs, 16), total=count, desc=path.name, unit="frame", disable=_quiet(count))
            for number, frame, job in progress:
                azimuth, elevation = map(float, job.result().result())
                if copy is not None:
                    view = crops.driver_slices(frame.shape[1], frame.shape[0], self._crop, self._promised)
                    eyes = crops.eyes(promised, self._crop)
                    drawn = annotate(frame, (azimuth, elevation), measured.get(number), view, eyes)
                    copy.add(drawn, float(index.seconds[number]))
                yield Row(str(path), number, azimuth, elevation)
                answered += 1
        if answered < count:
            print(f"{path}: {count - answered} of {count} frames left out ({decoding.reasons(index)})", file=sys.stderr)

    def _answer_frame(self, frame: np.ndarray, promised: Crop, name: str) -> Future[np.ndarray]:
        return self._submit(preprocess.resize(crops.network_view(frame, self._crop, promised, name, came="video")))

    def _promises(self, files: list[Path], drives: list[Path | None]) -> dict[Path | None, Crop]:
        """What is read of the pictures of each drive, a folder or ``None``: that of each file."""
        together: dict[Path | None, list[Path]] = {}
        for file, drive in zip(files, drives, strict=True):
            together.setdefault(drive, []).append(file)
        if self._crop == "face" or not self._promised.detected:
            return dict.fromkeys(together, self._promised)
        shown = [self._shown(*one) for one in together.items()]
        return dict(zip(together, settle(self._promised, shown, crops.NO_FACE_ADVICE, _say_second), strict=True))

    def _shown(self, drive: Path | None, files: list[Path]) -> Shown[Path]:
        if drive is None:
            return Shown("the given pictures", files, self._view)
        if self._crop != "composite" and (drive / prepared.DRIVE).is_file():
            try:
                return Shown.of(prepared.load(drive))
            except InputError as error:
                print(f"{error}; here its pictures are looked at as they are", file=sys.stderr)
        return Shown(str(drive), _by_frame(files), self._view)

    def _view(self, file: Path) -> np.ndarray:
        picture = preprocess.decode(_read(file), str(file))
        return crops.driver_view(picture, self._crop, self._promised)

    def _submit(self, picture: np.ndarray) -> Future[np.ndarray]:
        return self._batcher.submit(self._predictor, [picture])[0]


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _say_second(name: str, choice: Choice) -> None:
    crops.say_two_faces(choice, name, _say)


def _by_frame(files: list[Path]) -> list[Path]:
    """The pictures of a folder in the order in which :func:`recording.prepared.load` has those of a bare one."""
    names = [file.name for file in files]
    if not all(map(sample_files.is_picture, names)):
        return files
    frames, _ = sample_numbers.frames(names, [None] * len(names), list(range(len(names))))
    return [files[k] for k in np.lexsort((names, frames))]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def measured(
    labels_file: Path, index: Index, on_bad_rows: str = STOP, offset_frames: float = 0.0
) -> dict[int, tuple[float, float]]:
    """Frame number → measured (azimuth, elevation), degrees, of a video: the rows that training would use.

    Those within a saccade are not among them: training takes them only where there are too few others. Says on the
    standard error how many there are. Raises :class:`InputError` when the file is no labels CSV; ``on_bad_rows`` and
    ``offset_frames`` as in :func:`recording.labels.read`.
    """
    unshown = len(index.beginning.unshown)
    read = labels.read(labels_file, index.frames, on_bad_rows, index.seconds, offset_frames, unshown, index.assumed)
    moving = int(read.moving.sum())
    print(f"{labels_file}: {read.summary()}{f'; not drawn: {moving} {MOVING}' if moving else ''}", file=sys.stderr)
    columns = ["frame", "azimuth_deg", "elevation_deg"]
    rows = read.table.loc[~read.moving, columns].itertuples(index=False, name=None)
    return {int(frame): (float(azimuth), float(elevation)) for frame, azimuth, elevation in rows}


def annotate(
    frame: np.ndarray,
    predicted: tuple[float, float],
    measured: tuple[float, float] | None,
    view: tuple[slice, slice],
    eyes: arrows.Point,
) -> np.ndarray:
    """A copy of ``frame`` with the predicted and, where there is one, the measured gaze in the driver view.

    ``view``: rows and columns of the driver view; ``eyes``: where gaze begins in it, as shares of its size.
    """
    drawn = [arrows.Arrow(*predicted, arrows.PREDICTED, "predicted")]
    if measured is not None:
        drawn.insert(0, arrows.Arrow(*measured, arrows.MEASURED, "measured"))
    copy = frame.copy()
    copy[view] = arrows.draw(frame[view], drawn, eyes=eyes)
    return copy


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        images = [file for file in inside if file.suffix.lower() in encoded.SUFFIXES]
        # A prepared folder has road and cabin views beside the driver's; those hold no gaze.
        found = [file for file in images if sample_files.is_picture(file.name)] or images
        found += [file for file in inside if _is_video(file)]
        if not found:
            raise InputError(f"{path}: no images ({', '.join(encoded.SUFFIXES)}) and no videos in this folder")
        known = {*images, *found}
        if others := [file.name for file in inside if file not in known and file.suffix.lower() not in _TABLES]:
            some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            passed = (
                f"{len(others)} file{'s' * (len(others) > 1)} passed over, named neither as a picture nor as a video"
            )
            print(f"{path}: {passed} ({some})", file=sys.stderr)
        return found
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return [path]


def _is_video(path: Path) -> bool:
    """By its name, and where that says nothing by what it holds."""
    ending = path.suffix.lower()
    return ending in video.SUFFIXES or (ending not in (*encoded.SUFFIXES, *_TABLES) and video.is_film(path))


def _quiet(count: int) -> bool:
    return 0 < count < 20 or sys.stderr is None or not sys.stderr.isatty()


def _ahead(jobs: Iterable[Any], depth: int = _AHEAD) -> Iterator[Any]:
    """``jobs`` in order, ``depth`` of them started before the first is waited for."""
    waiting: deque[Any] = deque()
    for job in jobs:
        waiting.append(job)
        if len(waiting) >= depth:
            yield waiting.popleft()
    yield from waiting


@contextmanager
def _session(predictor: Predictor, crop: str) -> Iterator[Session]:
    batcher = Batcher()
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
    try:
        yield Session(predictor, batcher, pool, crop)
    finally:
        pool.shutdown(cancel_futures=True)
        batcher.close()


@contextmanager
def _writer(out: Path | None, form: str, predictor: Predictor, *, framed: bool) -> Iterator[Callable[[Row], None]]:
    with writing_text(out) if out else nullcontext(sys.stdout) as target:
        if form == "json":
            yield lambda row: print(json.dumps(row.with_origin(predictor)), file=target, flush=out is None)
            return
        columns = ["file", *(["frame"] if framed else []), "azimuth_deg", "elevation_deg", "model", "version"]
        table = csv.DictWriter(target, columns, restval="")
        table.writeheader()
        yield lambda row: table.writerow(row.with_origin(predictor))
