"""MPIIFaceGaze as it is distributed normalised: one ``.mat`` a person, with ``Data/data`` and ``Data/label``.

The files are of MATLAB 7.3, which is HDF5, and h5py sees MATLAB's dimensions in reverse: pictures (n, 3, 448, 448),
labels (n, 16). The pictures were written for Caffe – colours in the order blue, green, red, then flipped and turned
by 90°, which together is a transposition (the page of the data set gives the three lines of MATLAB) – so that in this
order they are upright rows. A label is pitch and yaw of the gaze, pitch and yaw of the head, both radians, and six
landmarks (x, y) in pixels. Public readers agree: hysts/pytorch_mpiigaze takes ``[:, :2]`` as gaze and ``[:, 2:4]`` as
head pose, and normalises channels by means in BGR order. A MATLAB 5 file with the same variables (some convert a part
so) is read too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from recording import preprocess
from recording.exceptions import InputError
from recording.pictures import Picture
from training.pretraining import faces
from training.pretraining.faces import Face, Faces, LeftOut
from training.pretraining.normalisation import Floats

NAME = "normalised .mat files"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK = 512  # MATLAB writes its own header before the HDF5 one
_MATLAB5 = b"MATLAB 5.0"
_READ_AT_ONCE = 32
_SAVE_AGAIN = "in MATLAB: save('{name}', 'Data', '-v7.3')"


@dataclass(frozen=True, eq=False)
class _Stored:
    """Pictures and labels of one file, in h5py's order of dimensions."""

    pictures: Callable[[int, int], np.ndarray]
    """(start, stop) → (k, 3, h, w)."""
    labels: Floats
    """(n, 2 … 16)."""


def people(root: Path) -> list[str]:
    """The persons with a ``.mat`` in that folder, in order of their names."""
    return sorted(path.stem for path in root.glob("p[0-9][0-9].mat"))


def others(root: Path) -> dict[str, str]:
    """Files that are read as nobody's, and why."""
    there = {path.stem for path in root.glob("*.mat")} - set(people(root))
    return {name: "persons are named p00 to p99" for name in sorted(there)}


def sources(root: Path, name: str) -> list[Path]:
    """The files that the faces of one person are made from."""
    return [root / f"{name}.mat"]


def read(root: Path, name: str) -> Faces:
    """The faces of one person. Samples that cannot be read are counted and left out.

    Raises :class:`InputError` for a file that is anything else, or of which more than single samples are damaged.
    """
    path, left_out = root / f"{name}.mat", LeftOut()
    found: list[Face] = []
    with _opened(path) as stored:
        labels, beyond = stored.labels, _beyond(stored.labels)
        for start in range(0, len(labels), _READ_AT_ONCE):
            stop = min(start + _READ_AT_ONCE, len(labels))
            for index, picture in zip(range(start, stop), _pictures(stored, start, stop), strict=True):
                made = faces.IMPOSSIBLE if beyond[index] else _face(picture, labels[index])
                if isinstance(made, Face):
                    found.append(made)
                else:
                    shown = np.array2string(labels[index][:2], precision=3)
                    left_out.add(made, f"sample {index + 1} of {path.name}, whose gaze is {shown}")
    left_out.check(str(path), len(labels))
    return faces.gathered(found, left_out)


def _beyond(labels: Floats) -> np.ndarray:
    """(n,) whose gaze points away from the camera: single faults. Where most do, they are in another unit, which
    :mod:`training.pretraining.conventions` names."""
    beyond = np.abs(labels[:, :2]).max(axis=1) > np.pi / 2
    return beyond if 2 * beyond.sum() < len(labels) else np.zeros(len(labels), bool)


def _face(picture: Picture | None, label: Floats) -> Face | str:
    """One face, or the reason why there is none."""
    if not np.isfinite(label).all():
        return faces.NOT_FINITE
    if picture is None:
        return faces.DAMAGED
    if faces.is_blank(picture):
        return faces.BLANK
    known = np.full(16, np.nan)
    known[: len(label)] = label[:16]
    upright = np.ascontiguousarray(picture.transpose(1, 2, 0)[..., ::-1])  # blue, green, red → RGB
    return Face(preprocess.resize(upright), known[:2], known[2:4], known[4:].reshape(6, 2))


def _pictures(stored: _Stored, start: int, stop: int) -> Iterator[Picture | None]:
    """(3, h, w) uint8 each; ``None`` for those whose bytes are damaged."""
    try:
        yield from (_in_bytes(picture) for picture in stored.pictures(start, stop))
    except (OSError, RuntimeError):  # how HDF5 says that a part of the file is not what its checksum or filter says
        if stop - start == 1:
            yield None
            return
        for index in range(start, stop):
            yield from _pictures(stored, index, index + 1)


def _in_bytes(picture: np.ndarray) -> Picture | None:
    """MATLAB keeps numbers as doubles where nobody says otherwise, from 0 to 255 or from 0 to 1."""
    if picture.dtype == np.uint8:
        return picture
    if not np.isfinite(picture).all() or picture.min() < 0 or picture.max() > 255:
        return None
    scale = 255.0 if picture.max() <= 1.0 else 1.0
    return np.round(picture * scale).astype(np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[_Stored]:
    try:
        with path.open("rb") as file:
            head = file.read(_USER_BLOCK + len(_HDF5))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    if head.startswith(_HDF5) or head[_USER_BLOCK:].startswith(_HDF5):
        with _hdf5(path) as file:
            yield _stored(path, *(_member(file, name) for name in ("data", "label")))
    elif head.startswith(_MATLAB5):
        yield _stored(path, *_matlab5(path))
    else:
        raise InputError(
            f"{path}: is neither HDF5 (MATLAB 7.3) nor a MATLAB 5 file; copy or unpack it again, or save it anew, "
            + _SAVE_AGAIN.format(name=path.name)
        )


@contextmanager
def _hdf5(path: Path) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: is a damaged or cut off HDF5 file ({reason}); copy or unpack it again") from None
    with file:
        try:
            yield file
        except (OSError, RuntimeError) as error:  # more than single pictures: labels, or where what lies
            reason = " ".join(str(error).split())[:100]
            raise InputError(f"{path}: is a damaged HDF5 file ({reason}); copy or unpack it again") from error


def _member(file: h5py.File, name: str) -> Any:
    try:
        group = file.get("Data")
        return group.get(name) if isinstance(group, h5py.Group) else None
    except KeyError as error:  # how h5py says that the name is there and what it leads to is not
        raise OSError(str(error)) from error


def _matlab5(path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    """``Data.data`` and ``Data.label``, their dimensions in h5py's order."""
    try:
        data = scipy.io.loadmat(path).get("Data")
    except Exception as error:  # scipy lets through whatever damaged bytes make its parts stumble
        reason = " ".join(str(error).split())[:80]
        raise InputError(
            f"{path}: is a MATLAB 5 file that cannot be read ({reason}); copy it again, or save it as HDF5, "
            + _SAVE_AGAIN.format(name=path.name)
        ) from error
    if data is None or data.dtype.names is None or not data.size:
        return None, None
    one = data.flat[0]
    return tuple(one[name].T if name in data.dtype.names else None for name in ("data", "label"))  # type: ignore[return-value]


def _is_turned(labels: Floats) -> bool:
    """Whether as many pictures as a label has numbers lie in columns: angles are small, landmarks are pixels."""
    return bool(np.nanmax(np.abs(labels[:2])) < np.nanmax(np.abs(labels[:, :2])))


def _stored(path: Path, data: Any, label: Any) -> _Stored:
    """The two arrays, their shapes checked and labels in one row a sample."""
    if data is None or label is None or not hasattr(data, "shape") or not hasattr(label, "shape"):
        missing = " and ".join(name for name, there in (("Data/data", data), ("Data/label", label)) if there is None)
        raise InputError(
            f"{path}: holds no {missing or 'arrays Data/data and Data/label'}, as normalised MPIIFaceGaze does; "
            "give the folder of its p00.mat to p14.mat"
        )
    if len(data.shape) != 4 or data.shape[1] != 3 or min(data.shape[2:]) < preprocess.INPUT_SIZE:
        raise InputError(
            f"{path}: Data/data is {' x '.join(map(str, data.shape))} as h5py sees it, not samples x 3 x 448 x 448: "
            "eyes alone (MPIIGaze), or another order of dimensions"
        )
    try:
        labels = np.array(label, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{path}: Data/label holds {label.dtype} and no numbers; copy or unpack it again") from None
    if labels.ndim == 2 and labels.shape[1] == len(data) and (len(labels) != len(data) or _is_turned(labels)):
        labels = labels.T
    if labels.ndim != 2 or len(labels) != len(data) or labels.shape[1] < 2:
        raise InputError(
            f"{path}: Data/label is {' x '.join(map(str, labels.shape))} for {len(data)} pictures, not one row of "
            "pitch, "
            "yaw, … for each"
        )
    return _Stored(lambda start, stop: data[start:stop], labels)
