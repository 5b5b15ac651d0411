"""The prepared folders of one training: usually one drive; several for ``split=by-drive`` and ``split=by-driver``."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from recording import detection, fingerprint, layouts, prepared, preprocess
from recording.angles import deg_to_pitch_yaw
from recording.drive_list import Entry
from recording.exceptions import InputError
from recording.face import AUTO, NONE, Choice, Face
from recording.fingerprint import Fingerprint
from recording.layouts import Layout
from recording.prepared import Samples

log = logging.getLogger("recording.recordings")


@dataclass(frozen=True)
class Recordings:
    """One or more prepared drives, seen as one list of n samples: the first drive's, then the next one's."""

    drives: tuple[Samples, ...]
    listed: tuple[Entry, ...] = ()
    """The list that they are of, as it was read, with the drives that could not be used; empty where there is none."""

    @cached_property
    def labels_deg(self) -> np.ndarray:
        """(n, 2) measured ``(azimuth, elevation)``, degrees."""
        return np.concatenate([d.measured_deg for d in self.drives])

    @cached_property
    def targets(self) -> np.ndarray:
        """(n, 2) ``(pitch, yaw)``, radians: what the network is to answer."""
        return deg_to_pitch_yaw(self.labels_deg)

    @cached_property
    def frames(self) -> np.ndarray:
        """(n,) frame number in its own drive."""
        return np.concatenate([d.table["frame"].to_numpy(np.int64) for d in self.drives])

    @cached_property
    def seconds(self) -> np.ndarray:
        """(n,) when each sample was shown, seconds after its own recording's first frame."""
        return np.concatenate([d.seconds for d in self.drives])

    @cached_property
    def drive_index(self) -> np.ndarray:
        """(n,) which drive, from 0."""
        return np.repeat(np.arange(len(self.drives)), [len(d.table) for d in self.drives])

    @property
    def drivers(self) -> tuple[str, ...]:
        """Who drives, each once, in the order of the drives; a drive of which nobody said counts as a driver."""
        return tuple(dict.fromkeys(d.driver or d.name for d in self.drives))

    @property
    def drives_of(self) -> dict[str, tuple[str, ...]]:
        """Driver → the names of their drives."""
        return {name: tuple(d.name for d in self.drives if (d.driver or d.name) == name) for name in self.drivers}

    @cached_property
    def driver_index(self) -> np.ndarray:
        """(n,) which driver, from 0."""
        of_drive = np.array([self.drivers.index(d.driver or d.name) for d in self.drives], dtype=np.int64)
        return np.asarray(of_drive[self.drive_index])

    @cached_property
    def moments(self) -> tuple[Fingerprint, ...]:
        """By which the moments of each drive are known again in a copy of it."""
        return tuple(fingerprint.of(drive) for drive in self.drives)

    @cached_property
    def digest(self) -> str:
        """sha256 of the sample contents of all drives."""
        if len(self.drives) == 1:
            return self.drives[0].digest
        return hashlib.sha256(" ".join(d.digest for d in self.drives).encode()).hexdigest()

    @property
    def rendered(self) -> bool:
        """Whether any of it is the rendered sample drive."""
        return any(d.rendered for d in self.drives)

    def layouts(self, asked: str | Path) -> tuple[str, tuple[Layout, ...]]:
        """The name of the layout that the pictures were cut out with, and its variants.

        Of a prepared folder, what it says itself; a bare one does not say: there it is the layout ``asked`` for.
        Several drives: all names, and every variant once.
        """
        names: dict[str, None] = {}
        found: dict[tuple[object, ...], Layout] = {}
        for drive in self.drives:
            names[Path(asked).name if drive.layout is None else drive.layout.name] = None
            for variant in layouts.variants(asked) if drive.layout is None else layouts.origins(drive.layout):
                found[variant.width, variant.height, variant.views["driver"]] = variant
        return ", ".join(names), tuple(found.values())

    @property
    def faces(self) -> tuple[Face | None, ...]:
        """The face rectangle of each drive; ``None``: the whole driver view."""
        return tuple(None if d.chosen is None else d.chosen.face for d in self.drives)

    @property
    def rooms(self) -> tuple[float, ...]:
        """What :class:`recording.face.Choice` says of the room around each drive's face."""
        return tuple(0.0 if d.chosen is None else d.chosen.room for d in self.drives)

    def cut_in_words(self) -> str:
        """The face rectangles, one drive after the other; "" where all driver views are used whole."""
        return "; ".join(str(face or "none") for face in self.faces) if any(self.faces) else ""

    @property
    def face_line(self) -> str:
        """What the network reads of each drive's pictures, and how the face was found."""
        return "; ".join(d.chosen.describe() for d in self.drives if d.chosen is not None)

    def cut_to(self, faces: tuple[Face | None, ...]) -> "Recordings":
        """The same drives with these face rectangles in place of their own."""
        drives = zip(self.drives, faces, strict=True)
        return replace(self, drives=tuple(replace(drive, chosen=Choice(face)) for drive, face in drives))

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(d.folder for d in self.drives)

    def __len__(self) -> int:
        return len(self.drive_index)

    def driver_path(self, index: int) -> Path:
        """The driver picture of sample ``index``."""
        drive, row = self._place(index)
        return drive.driver_file(row)

    def name(self, index: int) -> str:
        """A short name of sample ``index``: its file, with the folder where there are several."""
        path = self.driver_path(index)
        return path.name if len(self.drives) == 1 else f"{path.parent.name}/{path.name}"

    def iterate_pictures(self, batch: int) -> Iterator[np.ndarray]:
        """(≤ batch, 224, 224, 3) uint8 RGB of all samples, in order: each drive cut to its face rectangle."""
        for drive in self.drives:
            yield from prepared.iterate_pictures(drive, np.arange(len(drive.table)), batch)

    def _place(self, index: int) -> tuple[Samples, int]:
        drive = int(self.drive_index[index])
        return self.drives[drive], int(index - np.searchsorted(self.drive_index, drive))


def load(folders: tuple[Path, ...]) -> Recordings:
    """Read prepared folders; raises :class:`~recording.exceptions.InputError` for an empty or broken one."""
    return Recordings(tuple(prepared.load(folder) for folder in folders))


def with_faces(recordings: Recordings, asked: str | Sequence[str]) -> Recordings:
    """The recordings with a face rectangle chosen for each drive, which is said in the log.

    ``asked``, of all or of each drive: ``auto`` (what the prepared folder says; where it does not, it is looked for
    now), ``none`` or ``x,y,w,h``. A drive in which too few pictures show a face gets the rectangle of the others, where
    some show it there. Several drives of which one then has none are all used whole: a model reads faces or driver
    views. Raises :class:`~recording.exceptions.InputError` as :func:`recording.detection.find` does.
    """
    each = [asked] * len(recordings.drives) if isinstance(asked, str) else asked
    chosen = tuple(choice(drive, wanted) for drive, wanted in zip(recordings.drives, each, strict=True))
    faces = [one.face for one in chosen if one.face is not None]
    chosen = tuple(
        detection.own_or_borrowed(own, drive.driver_files(), detection.read, faces)
        for drive, own in zip(recordings.drives, chosen, strict=True)
    )
    for drive, found in zip(recordings.drives, chosen, strict=True):
        log.log(logging.WARNING if found.is_loud else logging.INFO, "%s: %s", drive.name, found.describe())
    if len({one.face is None for one in chosen}) > 1:
        log.warning("NO FACE RECTANGLE: not every drive has one, so all are used whole; face=x,y,w,h gives one to all")
        return recordings.cut_to((None,) * len(chosen))
    drives = zip(recordings.drives, chosen, strict=True)
    return replace(recordings, drives=tuple(replace(drive, chosen=one) for drive, one in drives))


def choice(drive: Samples, asked: str) -> Choice:
    """The face rectangle of one drive, as :func:`with_faces` is ``asked`` for it, whatever the others have."""
    if asked == AUTO and drive.chosen is not None:
        return drive.chosen
    if asked != NONE and drive.layout is None and (unfit := _unfit(drive, asked)):
        return Choice(None, unfit=unfit)
    return detection.find(drive.driver_files(), asked)


def _unfit(drive: Samples, asked: str) -> str:
    """Why no face rectangle can lie in the pictures of a bare folder, which may show anything; "" where one can.

    Raises :class:`~recording.exceptions.InputError` for a rectangle that was given and cannot lie in all pictures.
    """
    sizes = sorted(prepared.sizes(drive))
    view = Layout("driver", *sizes[-1], {})
    other = next((size for size in sizes if not view.fits(*size)), None)
    if other is not None:
        found = "pictures of {}x{} and {}x{} pixels have different proportions".format(*other, *sizes[-1])
        if asked != AUTO:
            raise InputError(f"face={asked}: {drive.folder}: {found}, no rectangle fits all of them; give face=none")
        return found
    if asked == AUTO and sizes == [(preprocess.INPUT_SIZE, preprocess.INPUT_SIZE)]:
        # Stretched from proportions that nobody knows: a rectangle in them would refuse every real driver view.
        return f"pictures of {preprocess.INPUT_SIZE}x{preprocess.INPUT_SIZE} pixels are what the network reads already"
    return ""
