"""A data set on disk: which layout it has, its persons, and their faces, normalised once and kept for every epoch."""

import hashlib
import json
import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
from tqdm import tqdm

from recording import files
from recording.exceptions import InputError
from training.pretraining import mpiifacegaze_mat, mpiifacegaze_original
from training.pretraining.faces import Faces

log = logging.getLogger(__name__)

LAYOUTS: dict[str, ModuleType] = {"original": mpiifacegaze_original, "normalised": mpiifacegaze_mat}
"""By name, a reader each: ``people(root)``, ``others(root)``, ``sources(root, name)``, ``read(root, name)``."""
EVERYBODY = tuple(f"p{number:02d}" for number in range(15))
"""The persons of MPIIFaceGaze."""
_KEPT = 2
"""Number of what is kept: to be raised when pictures or labels come out another way."""
_ABOUT = "about.json"
_LOOKED_FOR = "p00/p00.txt with p00/day01/*.jpg (as recorded) or p00.mat with Data/data and Data/label (normalised)"
_OTHERS = (
    ("Data/Original", "MPIIGaze, which has eyes alone"),
    ("Data/Normalized", "MPIIGaze, which has eyes alone"),
    ("Evaluation Subset", "MPIIGaze, which has eyes alone"),
    ("imgs/rec_*", "Gaze360"),
    ("train/subject*.h5", "ETH-XGaze"),
    ("xgaze_*", "ETH-XGaze"),
    ("*/appleFace.json", "GazeCapture"),
    ("Label/*.label", "a set as GazeHub preprocesses them (Image and Label)"),
    ("Label/*/*.label", "a set as GazeHub preprocesses them (Image and Label)"),
    ("MPIIFaceGaze.h5", "MPIIFaceGaze as another program converted it"),
    ("MPIIFaceGaze*.zip", "a packed MPIIFaceGaze: unpack it"),
    ("*_driver.*", "a prepared folder of a drive: that is data= of the main job"),
)


@dataclass(frozen=True, eq=False)
class Person:
    """One person's faces, the pictures mapped from disk."""

    name: str
    faces: Faces
    digest: str
    """sha256 over pictures and labels."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """The persons of a data set that can be used, in order of their names."""

    root: Path
    layout: str
    people: tuple[Person, ...]
    unusable: dict[str, str]
    """Person, or what looks like one → why none of its samples can be used."""

    @property
    def digest(self) -> str:
        """sha256 over persons, pictures and labels."""
        return hashlib.sha256("".join(f"{one.name}:{one.digest}\n" for one in self.people).encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the persons."""
        return tuple(one.name for one in self.people)

    def left_out(self) -> dict[str, int]:
        """Reason → how many samples of all persons were left out."""
        counts: Counter[str] = Counter()
        for one in self.people:
            counts.update(one.faces.left_out)
        return dict(counts)

    def describe(self) -> str:
        """One line: persons, samples, what was left out, who is missing."""
        samples = sum(len(one.faces) for one in self.people)
        dropped = ", ".join(f"{count} {reason}" for reason, count in self.left_out().items()) or "nothing"
        missing = [name for name in EVERYBODY if name not in self.names and name not in self.unusable]
        line = (
            f"MPIIFaceGaze, {LAYOUTS[self.layout].NAME}, in {self.root}: {samples} faces of {len(self.people)} "
            "persons; "
            f"left out: {dropped}"
        )
        line += f"; not there: {', '.join(missing)}" if missing else ""
        return line + "".join(f"; {name} cannot be used ({why})" for name, why in self.unusable.items())


def recognise(root: Path) -> tuple[str, Path]:
    """The layout of a data set and the folder that its persons lie in: the one given, or one below.

    Raises :class:`InputError` with what was looked for and what is there.
    """
    if not root.is_dir():
        problem = "is a file" if root.exists() else "is not there"
        raise InputError(f"dataset={root}: {problem}; give the folder that holds {_LOOKED_FOR}")
    below = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in (root, *below):
        for layout, reader in LAYOUTS.items():
            if reader.people(folder):
                return layout, folder
    found = next((what for sign, what in _OTHERS for folder in (root, *below) if any(folder.glob(sign))), "")
    there = ", ".join(path.name for path in sorted(root.iterdir())[:5]) or "nothing"
    looks = f", which looks like {found}" if found else ""
    raise InputError(
        f"dataset={root}: is no MPIIFaceGaze: looked for {_LOOKED_FOR}, there and one folder below; found "
        f"{there}{looks}"
    )


def read(root: Path, keep: Path) -> Dataset:
    """Read a data set; normalised faces are kept under ``keep`` (150 KB each) and read from there the next time.

    A person that cannot be used is left out and said, as long as two are left. Raises :class:`InputError`.
    """
    layout, folder = recognise(root)
    reader = LAYOUTS[layout]
    people: list[Person] = []
    unusable: dict[str, str] = reader.others(folder)
    for name in tqdm(reader.people(folder), desc="reading persons", unit="person"):
        try:
            person = _kept(reader, folder, name, keep)
        except InputError as error:
            unusable[name] = str(error)
            continue
        if len(person.faces):
            people.append(person)
        else:
            dropped = ", ".join(f"{count} {reason}" for reason, count in person.faces.left_out.items())
            unusable[name] = f"none of its samples: {dropped or 'it has none'}"
    if len(people) < 2:
        first = next((f"{name}: {why}" for name, why in unusable.items()), "copy more of p00 to p14")
        others = f" (and {len(unusable) - 1} more persons that cannot be used)" if len(unusable) > 1 else ""
        raise InputError(
            f"dataset={root}: {len(people)} of its persons can be used, and at least two are needed, one to be judged "
            f"on: {first}{others}"
        )
    found = Dataset(folder, layout, tuple(people), unusable)
    log.info("%s", found.describe())
    return found


def _kept(reader: ModuleType, root: Path, name: str, keep: Path) -> Person:
    """A person from what was kept, made first where there is none, and again where it is damaged."""
    digest = _source_digest(reader, root, name)
    folder = keep / f"{name}-{digest[:16]}"
    if (folder / _ABOUT).is_file():
        try:
            return _read_kept(name, folder)
        except InputError as error:
            log.warning("%s; it is made again", error)
    _keep(reader.read(root, name), folder)
    return _read_kept(name, folder)


def _keep(faces: Faces, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_pictures(folder / "pictures.npy", faces.pictures)
    labels = {"gaze": faces.gaze, "head": faces.head, "landmarks": faces.landmarks}
    files.write_arrays(folder / "labels.npz", labels)
    seen = hashlib.sha256(np.ascontiguousarray(faces.pictures).data)
    seen.update(np.ascontiguousarray(faces.gaze).data)
    content = {"digest": seen.hexdigest(), "left_out": faces.left_out}
    files.write_text(folder / _ABOUT, json.dumps(content))  # the last one: it says that the others are whole


def _read_kept(name: str, folder: Path) -> Person:
    """What :func:`_keep` wrote; :class:`InputError` where it is damaged."""
    said = files.read_json(folder / _ABOUT)
    labels_of = files.read_arrays(folder / "labels.npz", _labels)
    try:
        shown = np.load(folder / "pictures.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        shown = np.empty(0)
    if labels_of is None or len(shown) != len(labels_of) or not {"digest", "left_out"} <= set(said):
        raise InputError(f"{folder}: is damaged")
    return Person(name, replace(labels_of, pictures=shown, left_out=said["left_out"]), said["digest"])


def _labels(stored: dict[str, np.ndarray]) -> Faces:
    """What was kept of a person but the pictures."""
    return Faces(np.empty(0, np.uint8), stored["gaze"], stored["head"], stored["landmarks"])


def _write_pictures(path: Path, pictures: np.ndarray) -> None:
    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:  # np.save would add its own ending to a name
            np.save(file, pictures)

    files.write(path, write)


def _source_digest(reader: ModuleType, root: Path, name: str) -> str:
    """sha256 over names, sizes and times of the files of one person: whether what was kept is still theirs."""
    seen = hashlib.sha256(f"{reader.__name__} {_KEPT} {root.resolve()}".encode())
    for path in reader.sources(root, name):
        about = path.stat()
        seen.update(f"{path.relative_to(root)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return seen.hexdigest()
