"""The held-out samples that travel with a version: what the gate compares challenger and champion on."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recording import angles, files, preprocess
from recording.exceptions import ContractError
from recording.face import Face
from recording.fingerprint import Fingerprint
from recording.layouts import View
from recording.scenarios import COUNT
from registry import lineage
from registry.lineage import Footage

FILE_NAME = "holdout.npz"
_BASELINE = "baseline."  # and its name: an array of the file
_MOMENTS = "moments."  # and the name of an array of the fingerprint
_ELSEWHERE = "elsewhere."  # and the recording's number
_SOURCE = "source."  # and the drive's number
_TWIN = "twin."  # and the recording's number


@dataclass(frozen=True, eq=False)
class Source:
    """One of the drives that held-out samples come from, and who drives."""

    driver: str
    drive: str
    """sha256 of the recording."""
    fps: float
    face: Face | None = None
    moments: Fingerprint = field(default_factory=Fingerprint)


@dataclass
class Holdout:
    """n samples that the model of the same package was neither trained nor validated on, or its ``twin`` was not.

    Of one drive, or, where ``sources`` says so, of one or several whose drivers are known (:meth:`parts`).
    """

    jpegs: list[bytes]
    """n encoded driver views, of which each model reads what its contract says (:meth:`Crop.cut_driver_view`); in
    versions without a face rectangle they may be squeezed to 224×224."""
    names: list[str]
    """n file names, as in the prepared folder."""
    labels_deg: np.ndarray
    """(n, 2) measured azimuth and elevation, degrees."""
    frames: np.ndarray
    """(n,) frame numbers in the drive."""
    blocks: np.ndarray
    """(n,) number of the contiguous time block; a bootstrap resamples these."""
    scenarios: np.ndarray
    """(n,) scenario of the sample, 1 to 10."""
    drive: str
    """sha256 of the recording the samples come from; of several, one that stands for all of them."""
    fps: float
    """Frames per second of the drive (of several: of the first)."""
    trained_frames: np.ndarray
    """(m,) frame numbers of the same drive that the model was trained or validated on."""
    trained_drives: tuple[str, ...] = ()
    """sha256s of other recordings of which it has seen frames, but is not known which: versions registered before
    ``elsewhere`` was kept."""
    baselines_deg: dict[str, np.ndarray] = field(default_factory=dict)
    """(n, 2) answers of each baseline (``constant``, ``calibrated``, …) to the samples, degrees; the gate holds the
    model against these. Empty in versions registered before they were kept."""
    moments: Fingerprint = field(default_factory=Fingerprint)
    """By which the drive's moments are known again in a copy; empty in versions registered before it was kept."""
    face: Face | None = None
    """The face rectangle of the drive, for versions that have to find it on every drive; ``None``: there is none."""
    elsewhere: tuple[Footage, ...] = ()
    """Frames of other recordings that the model, or one that it was fine-tuned from, was trained or validated on."""
    sources: tuple[Source, ...] = ()
    """The drives, where whole drivers are held out; empty otherwise: then all is of ``drive``."""
    source: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(n,) which of ``sources`` each sample is from; empty where there are none."""
    twin: tuple[Footage, ...] = ()
    """Where the model was trained on these samples too (``final=all``): what its twin has seen, which was trained in
    the same way without them and is measured in its place; empty otherwise."""

    def __post_init__(self) -> None:
        self.source = np.asarray(self.source, dtype=np.int64)
        self.labels_deg = np.asarray(self.labels_deg, dtype=np.float64).reshape(-1, 2)
        self.frames = np.asarray(self.frames, dtype=np.int64)
        self.blocks = np.asarray(self.blocks, dtype=np.int64)
        self.scenarios = np.asarray(self.scenarios, dtype=np.int64)
        self.trained_frames = np.asarray(self.trained_frames, dtype=np.int64)
        self.baselines_deg = {
            name: np.asarray(answers, dtype=np.float64).reshape(-1, 2) for name, answers in self.baselines_deg.items()
        }
        lengths = {len(self.jpegs), len(self.names), len(self.labels_deg), len(self.frames), len(self.blocks)}
        if lengths != {len(self.scenarios)}:
            raise ValueError("Holdout: jpegs, names, labels_deg, frames, blocks and scenarios differ in length")
        known = np.isin(self.source, np.arange(len(self.sources)))
        if len(self.source) != (len(self.jpegs) if self.sources else 0) or not known.all():
            raise ValueError("Holdout: source has not one of the sources for each sample")
        if not np.isfinite(self.labels_deg).all():
            raise ValueError("Holdout: labels_deg has NaN or infinite angles")
        for name, answers in self.baselines_deg.items():
            if len(answers) != len(self.labels_deg) or not np.isfinite(answers).all():
                raise ValueError(f"Holdout: baseline {name} has not one finite answer a sample")
        if len(self.scenarios) and not (self.scenarios.min() >= 1 and self.scenarios.max() <= COUNT):
            raise ValueError(f"Holdout: scenarios must be 1 to {COUNT}")
        learnt = {part.recording: part.frames for part in self.learnt} if self.twin else {}
        if not all(np.isin(part.frames, learnt.get(part.recording, [])).all() for part in self.twin):
            raise ValueError("Holdout: the twin has seen frames that the model has not")
        if not self.fps > 0:
            raise ValueError(f"Holdout: fps is {self.fps}, not a positive number")

    def __len__(self) -> int:
        return len(self.jpegs)

    @property
    def drivers(self) -> np.ndarray:
        """(n,) who drives, by name; empty where it is not known."""
        return np.array([self.sources[k].driver for k in self.source], dtype=np.str_)

    def parts(self) -> "list[tuple[np.ndarray, Holdout]]":
        """The samples by drive: their indices, and they alone as of one drive."""
        if not self.sources:
            return [(np.arange(len(self)), self)]
        places = [np.flatnonzero(self.source == k) for k in range(len(self.sources))]
        return [(place, self._of(place, one)) for place, one in zip(places, self.sources, strict=True) if len(place)]

    def _of(self, place: np.ndarray, one: Source) -> "Holdout":
        alone = replace(self.subset(place), sources=(), source=np.empty(0, np.int64))
        return replace(alone, drive=one.drive, fps=one.fps, face=one.face, moments=one.moments)

    def subset(self, chosen: np.ndarray) -> "Holdout":
        """The samples with these indices."""
        return replace(
            self,
            jpegs=[self.jpegs[index] for index in chosen],
            names=[self.names[index] for index in chosen],
            labels_deg=self.labels_deg[chosen],
            frames=self.frames[chosen],
            blocks=self.blocks[chosen],
            scenarios=self.scenarios[chosen],
            baselines_deg={name: answers[chosen] for name, answers in self.baselines_deg.items()},
            source=self.source[chosen] if self.sources else self.source,
        )

    @property
    def squeezed(self) -> bool:
        """Whether its pictures are what networks read of the whole driver view: versions before faces were cut."""
        size = (preprocess.INPUT_SIZE, preprocess.INPUT_SIZE)
        return self.face is None and all(preprocess.encoded_size(jpeg) == size for jpeg in self.jpegs)

    @property
    def footage(self) -> Footage:
        """The held-out frames."""
        return Footage(self.drive, self.fps, self.frames, self.moments)

    @property
    def learnt(self) -> tuple[Footage, ...]:
        """All frames that the model, or one that it was fine-tuned from, was trained or validated on, by recording."""
        return lineage.joined([replace(self.footage, frames=self.trained_frames), *self.elsewhere])

    def saw(self, footage: Footage) -> np.ndarray:
        """(m,) bool: which of these frames the model has seen, or a near copy (within a second), in whatever file.

        Of a recording of which it is only known that the model was trained on it every frame counts.
        """
        return self._among(footage, self.learnt)

    def knows(self, footage: Footage) -> bool:
        """Whether any of these frames, or a near copy, was trained, validated or tested on."""
        known = (*self.learnt, *(part.footage for _, part in self.parts()))
        return any(bool(lineage.near_copies(footage, part).any()) for part in known)

    def saw_bare(self, footage: Footage) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`saw` of a bare folder, with the tiny picture of every frame, and (m,) of which frames it is known.

        Its numbers may be no times. Where they fit no recording, the pictures are compared one by one; of those that
        are not found it cannot be told: most frames of a recording are in no fingerprint.
        """
        seen = self.saw(footage)
        if seen.any() or self.knows(footage):
            return seen, np.ones(len(seen), dtype=bool)
        pictures = footage.moments.pictures
        known = np.zeros(len(seen), dtype=bool)
        for part in self.learnt if len(pictures) == len(seen) else ():  # else a fingerprint of something else
            theirs, near = lineage.near_pictures(pictures, part)
            known, seen = known | theirs, seen | near
        return seen, known

    def measured_saw(self, footage: Footage) -> np.ndarray:
        """The same of the network that is measured: the model's twin where there is one."""
        moments = {part.recording: part.moments for part in self.learnt}  # the file has them once
        twin = [replace(part, moments=max(part.moments, moments[part.recording], key=len)) for part in self.twin]
        return self._among(footage, twin or self.learnt)

    def _among(self, footage: Footage, learnt: Iterable[Footage]) -> np.ndarray:
        if footage.recording in self.trained_drives:
            return np.ones(len(footage.frames), dtype=bool)
        seen = np.zeros(len(footage.frames), dtype=bool)
        for part in learnt:
            seen |= lineage.near_copies(footage, part)
        return seen

    @staticmethod
    def tells_of_a_twin(content: bytes) -> bool:
        """Whether the bytes of a ``holdout.npz`` say what a twin has seen; the samples are not looked at."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return any(name.startswith(_TWIN) for name in archive.namelist())
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ContractError(
                f"{FILE_NAME}: not the held-out samples of a version ({error}); register again"
            ) from error

    def write(self, path: Path) -> None:
        """Write ``holdout.npz``, whole or not at all; the same samples give the same bytes."""
        ends = np.cumsum([len(jpeg) for jpeg in self.jpegs], dtype=np.int64)
        arrays: dict[str, np.ndarray] = {
            "jpeg_bytes": np.frombuffer(b"".join(self.jpegs), dtype=np.uint8),
            "jpeg_ends": ends,
            "names": np.array(self.names, dtype=np.str_),
            "labels_deg": self.labels_deg,
            "frames": self.frames,
            "blocks": self.blocks,
            "scenarios": self.scenarios,
            "drive": np.array(self.drive, dtype=np.str_),
            "fps": np.array(self.fps, dtype=np.float64),
            "trained_frames": self.trained_frames,
            "trained_drives": np.array(self.trained_drives, dtype=np.str_),
        }
        if self.face is not None:
            arrays["face"] = _packed_face(self.face)
        arrays |= {_BASELINE + name: answers for name, answers in sorted(self.baselines_deg.items())}
        arrays |= _packed(_MOMENTS, self.moments)
        for number, part in enumerate(self.elsewhere):
            arrays |= _packed_footage(f"{_ELSEWHERE}{number}.", part)
        for number, part in enumerate(self.twin):
            arrays |= _packed_footage(f"{_TWIN}{number}.", replace(part, moments=Fingerprint()))
        for number, one in enumerate(self.sources):
            arrays |= _packed_source(f"{_SOURCE}{number}.", one)
        if self.sources:
            arrays["source"] = self.source
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, allow_pickle=False)
                # A ZipInfo without a date: np.savez would put the time into the file, and so into its digest.
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())
        files.write_bytes(Path(path), packed.getvalue())

    @classmethod
    def read(cls, content: bytes) -> "Holdout":
        """The samples in the bytes of a ``holdout.npz``; :class:`ContractError` when they are anything else.

        Nothing is unpickled.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                packed = stored["jpeg_bytes"].tobytes()
                ends = stored["jpeg_ends"].tolist()
                return cls(
                    jpegs=[packed[start:end] for start, end in zip([0, *ends], ends, strict=False)],
                    names=stored["names"].tolist(),
                    labels_deg=stored["labels_deg"],
                    frames=stored["frames"],
                    blocks=stored["blocks"],
                    scenarios=stored["scenarios"],
                    drive=str(stored["drive"]),
                    fps=float(stored["fps"]),
                    trained_frames=stored["trained_frames"],
                    trained_drives=tuple(stored["trained_drives"].tolist()),
                    baselines_deg={
                        name.removeprefix(_BASELINE): stored[name]
                        for name in stored.files
                        if name.startswith(_BASELINE)
                    },
                    face=_face(stored["face"].tolist()) if "face" in stored.files else None,
                    moments=_moments(stored, _MOMENTS),
                    elsewhere=_footage(stored, _ELSEWHERE),
                    twin=_footage(stored, _TWIN),
                    sources=_sources(stored),
                    source=stored["source"] if "source" in stored.files else np.empty(0, np.int64),
                )
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ContractError(
                f"{FILE_NAME}: not the held-out samples of a version ({error}); register again"
            ) from error


def _face(numbers: list[int]) -> Face:
    return Face(numbers[0], numbers[1], View(*numbers[2:]))


def _packed_face(face: Face) -> np.ndarray:
    return np.array([face.width, face.height, *astuple(face.view)], dtype=np.int64)


def _packed_source(prefix: str, one: Source) -> dict[str, np.ndarray]:
    words = {"driver": one.driver, "drive": one.drive}
    arrays = {prefix + name: np.array(word, dtype=np.str_) for name, word in words.items()}
    arrays[prefix + "fps"] = np.array(one.fps, dtype=np.float64)
    if one.face is not None:
        arrays[prefix + "face"] = _packed_face(one.face)
    return arrays | _packed(prefix + _MOMENTS, one.moments)


def _sources(stored: Mapping[str, np.ndarray]) -> tuple[Source, ...]:
    found: list[Source] = []
    while (prefix := f"{_SOURCE}{len(found)}.") + "drive" in stored:
        face = _face(stored[prefix + "face"].tolist()) if prefix + "face" in stored else None
        driver, drive, fps = (stored[prefix + name].item() for name in ("driver", "drive", "fps"))
        found.append(Source(driver, drive, fps, face, _moments(stored, prefix + _MOMENTS)))
    return tuple(found)


def _packed(prefix: str, moments: Fingerprint) -> dict[str, np.ndarray]:
    return {prefix + name: array for name, array in moments.arrays().items()}


def _packed_footage(prefix: str, part: Footage) -> dict[str, np.ndarray]:
    about = {"recording": np.array(part.recording, dtype=np.str_), "fps": np.array(part.fps, dtype=np.float64)}
    arrays = {prefix + name: array for name, array in (about | {"frames": part.frames}).items()}
    return arrays | _packed(prefix + _MOMENTS, part.moments)


def _moments(stored: Mapping[str, np.ndarray], prefix: str) -> Fingerprint:
    names = Fingerprint().arrays()
    if prefix + "frames" not in stored:
        return Fingerprint()
    return Fingerprint(**{name: stored[prefix + name] for name in names})


def _footage(stored: Mapping[str, np.ndarray], kind: str) -> tuple[Footage, ...]:
    parts: list[Footage] = []
    while (prefix := f"{kind}{len(parts)}.") + "recording" in stored:
        name, fps = str(stored[prefix + "recording"]), float(stored[prefix + "fps"])
        parts.append(Footage(name, fps, stored[prefix + "frames"], _moments(stored, prefix + _MOMENTS)))
    return tuple(parts)


def errors_of(answers_deg: NDArray[np.float64], held_out: Holdout) -> NDArray[np.float64]:
    """(n, 3) azimuth, elevation and 3-D error of answers (n, 2) to the held-out samples, degrees."""
    return np.column_stack(
        [
            angles.absolute_errors(answers_deg, held_out.labels_deg),
            angles.angular_errors(answers_deg, held_out.labels_deg),
        ]
    )
