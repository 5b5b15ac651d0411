"""MPIIFaceGaze as it was recorded: pictures by day, one text file a person, calibration in MATLAB 5 files.

``p00/day01/0005.jpg``, ``p00/p00.txt``, ``p00/Calibration/Camera.mat`` (and ``monitorPose.mat``, ``screenSize.mat``).
A line of ``p00.txt`` has 28 fields, by the readme of the data set (Zhang et al. 2017, "It's Written All Over Your
Face"): picture; gaze location on the screen (2, pixels); six landmarks (12, pixels: four eye corners, two mouth
corners); head pose in camera coordinates (rotation vector 3, translation 3); face centre ``fc`` (3, mm); gaze target
``gt`` (3, mm); the eye of the evaluation subset. The gaze is ``gt − fc``.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from recording import pictures, preprocess, processors
from recording.exceptions import InputError
from training.pretraining import faces
from training.pretraining.faces import Face, Faces, LeftOut
from training.pretraining.normalisation import Floats, RealCamera, VirtualCamera, head_pitch_yaw, pitch_yaw

NAME = "original pictures"
CAMERA = Path("Calibration") / "Camera.mat"
MONITOR, SCREEN = Path("Calibration") / "monitorPose.mat", Path("Calibration") / "screenSize.mat"
_FIELDS = 28
_READ_AT_ONCE = 256
_DISTANCES_MM = (100.0, 3000.0)
_SCREEN_FITS_MM, _SCREEN_MISFITS_MM = 30.0, 100.0
_COEFFICIENTS = (4, 5, 8, 12, 14)
_OFF_CENTRE = 0.15
"""Of a picture's width and height: how far from its middle a camera's axis may meet it."""


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a person's text file; lengths in mm, in camera coordinates (x right, y down, z forward)."""

    picture: str
    screen: Floats
    landmarks: Floats
    head: Floats
    """(3, 3) the head's rotation."""
    centre: Floats
    target: Floats


def people(root: Path) -> list[str]:
    """The persons with a text file in that folder, in order of their names."""
    return sorted(path.name for path in root.glob("p[0-9][0-9]") if (path / f"{path.name}.txt").is_file())


def others(root: Path) -> dict[str, str]:
    """Folders of pictures that are read as nobody's, and why."""
    there = {path.name for path in root.iterdir() if any(path.glob("day*/"))} - set(people(root))
    return {
        name: f"there is no {name}/{name}.txt" if re.fullmatch("p[0-9][0-9]", name) else "persons are named p00 to p99"
        for name in sorted(there)
    }


def sources(root: Path, name: str) -> list[Path]:
    """The files that the faces of one person are made from."""
    folder = root / name
    fixed = [folder / f"{name}.txt", *(folder / part for part in (CAMERA, MONITOR, SCREEN))]
    return [path for path in fixed if path.is_file()] + sorted(folder.glob("day*/*.jpg"))


def read(root: Path, name: str) -> Faces:
    """The faces of one person, normalised.

    Pictures that are not there, damaged ones and lines that cannot be read are counted and left out. Raises
    :class:`InputError` where they are more than single faults, or where the numbers contradict each other.
    """
    folder, left_out = root / name, LeftOut()
    camera = _camera(folder / CAMERA)
    text = _text(folder / f"{name}.txt")
    lines = list(_lines(text, f"{name}.txt", left_out))
    _check_units(lines, folder)
    _check_screen(lines, folder)
    found: list[Face] = []
    with ThreadPoolExecutor(processors.cores(), thread_name_prefix="normalise") as pool:
        for start in range(0, len(lines), _READ_AT_ONCE):
            part = lines[start : start + _READ_AT_ONCE]
            for made in pool.map(lambda line: _face(folder, line, camera), part):
                if isinstance(made, Face):
                    found.append(made)
                else:
                    left_out.add(*made)
    left_out.check(str(folder), len(lines) + left_out.counts[faces.MALFORMED])
    return faces.gathered(found, left_out)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its rights, or copy it again") from error


def _lines(text: str, name: str, left_out: LeftOut) -> Iterator[Line]:
    for number, row in enumerate(text.splitlines(), start=1):
        fields = row.split()
        if not fields:
            continue
        try:
            values = np.array([float(field) for field in fields[1 : _FIELDS - 1]])
        except ValueError:
            values = np.empty(0)
        if len(fields) not in (_FIELDS - 1, _FIELDS) or len(values) != _FIELDS - 2:
            left_out.add(faces.MALFORMED, f"{row[:60]!r} in line {number} of {name} has not {_FIELDS} fields")
        elif not np.isfinite(values).all():
            left_out.add(faces.NOT_FINITE, f"{row[:60]!r} in line {number} of {name}")
        else:
            yield Line(
                fields[0].replace("\\", "/"),  # a list that Windows wrote
                values[:2],
                values[2:14].reshape(6, 2),
                np.asarray(cv2.Rodrigues(values[14:17])[0], dtype=np.float64),
                values[20:23],
                values[23:26],
            )


def _face(folder: Path, line: Line, camera: RealCamera) -> Face | tuple[str, str]:
    """A normalised face, or the reason why there is none, and the picture's name."""
    path, name = folder / line.picture, f"{folder.name}/{line.picture}"
    if not line.centre[2] > 0 or not (line.target - line.centre)[2] < 0:  # nobody looks away from the camera's side
        return faces.IMPOSSIBLE, name
    try:
        taken = pictures.decode(path.read_bytes(), str(path))
    except FileNotFoundError:
        return faces.NOT_THERE, name
    except (InputError, OSError):
        return faces.DAMAGED, name
    size, axis = np.array(taken.shape[1::-1]), camera.matrix[:2, 2]
    if np.abs(axis / size - 0.5).max() > _OFF_CENTRE:
        return faces.OTHER_SIZE, (
            f"{name} has {size[0]} x {size[1]} pixels, and the axis of the camera in {CAMERA} is at {axis[0]:.0f}, "
            f"{axis[1]:.0f}, which would be near the middle"
        )
    virtual = VirtualCamera.looking_at(line.centre, line.head)
    normalised = virtual.picture(camera.undistorted(taken), camera)
    if faces.is_blank(normalised):
        return faces.BLANK, name
    return Face(
        preprocess.resize(normalised),
        pitch_yaw(virtual.sees(line.target - line.centre)),
        head_pitch_yaw(virtual.rotation @ line.head),
        virtual.points(camera.undistorted_points(line.landmarks), camera),
    )


def _camera(path: Path) -> RealCamera:
    stored = _matlab(path)
    try:
        matrix = np.array(stored["cameraMatrix"], dtype=np.float64).reshape(3, 3)
        distortion = np.array(stored.get("distCoeffs", np.zeros(5)), dtype=np.float64).ravel()
    except (KeyError, ValueError, TypeError):
        raise InputError(
            f"{path}: holds no cameraMatrix of 3x3 numbers; copy the Calibration folder of MPIIFaceGaze again"
        ) from None
    if not (matrix[0, 0] > 1 and matrix[1, 1] > 1 and np.isfinite(matrix).all() and np.isfinite(distortion).all()):
        raise InputError(
            f"{path}: cameraMatrix has the focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g}, not pixels; copy it "
            "again"
        )
    if not np.allclose(matrix[2], [0, 0, 1]):
        raise InputError(
            f"{path}: the last row of cameraMatrix is {', '.join(f'{value:g}' for value in matrix[2])}, not 0, 0, 1: "
            "it is transposed, or another matrix; copy it again"
        )
    if len(distortion) not in _COEFFICIENTS:
        raise InputError(
            f"{path}: distCoeffs has {len(distortion)} numbers, and OpenCV knows distortions of "
            f"{', '.join(map(str, _COEFFICIENTS))}; copy it again"
        )
    return RealCamera(matrix, distortion)


def _matlab(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path}: is not there, and without it {path.parts[-3]} cannot be normalised; copy it")
    try:
        stored: dict[str, np.ndarray] = scipy.io.loadmat(path)
    except Exception as error:  # scipy lets through whatever damaged bytes make its parts stumble
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{path}: cannot be read as a MATLAB 5 file ({reason}); copy it again") from error
    return stored


def _check_units(lines: list[Line], folder: Path) -> None:
    """:class:`InputError` where face centre and gaze target are not what their columns say."""
    if not lines:
        return
    centres, targets = np.array([line.centre for line in lines]), np.array([line.target for line in lines])
    away, gaze_z = float(np.median(np.linalg.norm(centres, axis=1))), float(np.median((targets - centres)[:, 2]))
    where = f"{folder / folder.name}.txt"
    if float(np.median(centres[:, 2])) < 0:
        raise InputError(
            f"{where}: the faces lie behind the camera (median z of fc is {np.median(centres[:, 2]):.0f} mm); the "
            "signs "
            "of columns 22 to 24 are turned round: camera coordinates are x right, y down, z forward"
        )
    if not _DISTANCES_MM[0] <= away <= _DISTANCES_MM[1]:
        raise InputError(
            f"{where}: the faces are {away:g} mm from the camera (median of columns 22 to 24, fc); "
            "write lengths in mm, not in metres or pixels"
        )
    if gaze_z > 0:
        raise InputError(
            f"{where}: the gaze targets lie behind the faces (gt − fc has a median z of {gaze_z:+.0f} mm); columns "
            "22 to "
            "24 (fc) and 25 to 27 (gt) look SWAPPED, or gt is turned round"
        )


def _check_screen(lines: list[Line], folder: Path) -> None:
    """:class:`InputError` where gaze targets are the mirror image of the screen locations beside them.

    The screen's pose and size are calibrated too, so that the targets can be had again. Only what can be named is
    refused; without these files nothing is compared.
    """
    if not lines or not all((folder / part).is_file() for part in (MONITOR, SCREEN)):
        return
    pose, size = _matlab(folder / MONITOR), _matlab(folder / SCREEN)
    try:
        rotation = cv2.Rodrigues(np.array(pose["rvects"], dtype=np.float64).ravel())[0]
        offset = np.array(pose["tvecs"], dtype=np.float64).ravel()
        pixels = np.array([size["width_pixel"].item(), size["height_pixel"].item()], dtype=np.float64)
        millimetres = np.array([size["width_mm"].item(), size["height_mm"].item()], dtype=np.float64)
    except (KeyError, ValueError, TypeError, AttributeError, cv2.error):
        return
    shown = np.array([line.screen for line in lines]) / pixels
    targets = np.array([line.target for line in lines])

    def misfit(locations: Floats, target: Floats) -> float:
        there = np.column_stack([locations * millimetres, np.zeros(len(locations))]) @ rotation.T + offset
        return float(np.median(np.linalg.norm(there - target, axis=1)))

    if misfit(shown, targets) < _SCREEN_MISFITS_MM:
        return
    mistakes = {
        "gt is MIRRORED (the sign of column 25)": misfit(shown, targets * [-1, 1, 1]),
        "gt is upside down (the sign of column 26)": misfit(shown, targets * [1, -1, 1]),
        "columns 25 and 26 (x and y of gt) are SWAPPED": misfit(shown, targets[:, [1, 0, 2]]),
        "gt is in metres": misfit(shown, targets * 1000),
    }
    name, fits = min(mistakes.items(), key=lambda one: one[1])
    if fits < _SCREEN_FITS_MM:
        raise InputError(
            f"{folder / folder.name}.txt: {name}: so the targets lie {fits:.0f} mm from the screen locations in "
            "columns "
            f"2 and 3, as they are {misfit(shown, targets):.0f} mm; mend the columns"
        )
