"""Do pictures and labels of a data set mean what they should? Mix-ups are found in the data and named, not trained on.

What numbers alone show comes first: units, the order of landmarks, how gaze goes with the head. Then what pictures
show: colours, which way up, and whether the lab base (:mod:`training.sample`), which reads the convention of this
project, agrees in sign and order. Only clear findings are refused; what cannot be told is said.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from recording import angles, detection
from recording.exceptions import InputError
from recording.pictures import Picture
from registry.intervals import Floats
from training.measuring.alignment import Alignment, align
from training.pretraining.faces import Faces
from training.pretraining.normalisation import SIDE

log = logging.getLogger(__name__)

Answer = Callable[[Picture], Floats]
"""(n, 224, 224, 3) uint8 RGB → (n, 2) ``(pitch, yaw)`` radians: the lab base."""

LOOKED_AT = 240
"""Samples of the data set that the pictures are judged by, spread over all persons."""
FEWEST = 12
_SEARCHED_FOR_FACES = 8
_CLEAR = 0.5
"""Correlation from which a finding is clear."""
_MOST = 0.9
_SMALLEST_SPREAD_RAD = 0.01
_OFF_CENTRE = 0.2
"""Of the picture's side: how far the middle of the landmarks may lie from that of the picture."""


def check(people: Sequence[Faces], where: str, answer: Answer) -> None:
    """:class:`InputError` in one line, with what is wrong, for the faces of a data set; ``where`` names it."""
    seen = _spread(people)
    if len(seen) < FEWEST:
        log.info("%s: %d samples are too few to tell whether its conventions hold", where, len(seen))
        return
    check_units(seen.gaze, where)
    check_landmarks(seen.landmarks, where)
    check_head(seen.head, seen.gaze, where)
    check_colours(seen.pictures, where)
    check_upright(seen.pictures, where)
    check_signs(answer(seen.pictures), seen.gaze, where)


def check_units(gaze: Floats, where: str) -> None:
    """(n, 2) gaze labels have to be radians."""
    largest = float(np.quantile(np.abs(gaze).max(axis=1), 0.95))  # one person of fifteen is more than the rest
    if largest > np.pi / 2:
        worst = gaze[np.abs(gaze).max(axis=1).argmax()]
        raise InputError(
            f"{where}: gaze labels such as {worst[0]:.1f}, {worst[1]:.1f} are DEGREES, where radians are wanted "
            f"(95 % are below {largest:.1f}, nobody looks at a screen beyond 1.6); multiply them by pi/180"
        )
    if float(gaze.std(axis=0).max()) < _SMALLEST_SPREAD_RAD:
        spread = np.degrees(gaze.std(axis=0))
        raise InputError(
            f"{where}: gaze labels spread by {spread[0]:.3f}° and {spread[1]:.3f}° only: all the same, or turned into "
            "radians TWICE; write them once in radians"
        )


def check_landmarks(landmarks: Floats, where: str) -> None:
    """(n, 6, 2) landmarks lie in the picture: corners of the eyes from left to right, those of the mouth below."""
    known = landmarks[np.isfinite(landmarks).all(axis=(1, 2))]
    if len(known) < FEWEST:
        return
    across, below = known[:, 3] - known[:, 0], known[:, 4:].mean(axis=1) - known[:, :4].mean(axis=1)
    middle = np.median(known, axis=(0, 1)) / SIDE  # public readers take the amount of some corners that are negative
    findings = {
        "x and y of the landmarks are SWAPPED": np.abs(across[:, 1]) > np.abs(across[:, 0]),
        "landmarks are MIRRORED: the first is the eye corner on the image's right": across[:, 0] < 0,
        "landmarks are upside down: the mouth lies above the eyes": below[:, 1] < 0,
    }
    for what, found in findings.items():
        if found.mean() > _MOST:
            raise InputError(
                f"{where}: {what} (in {found.mean():.0%} of the samples); so the labels beside them cannot be trusted: "
                "mend the columns, or take the data set as it is distributed"
            )
    if np.abs(middle - 0.5).max() > _OFF_CENTRE:
        raise InputError(
            f"{where}: the landmarks' middle is at {middle[0]:.0%} of the normalised picture's width and "
            f"{middle[1]:.0%} "
            "of its height, not in the middle: pictures or landmarks are MIRRORED, or camera, head pose and face "
            "centre "
            "are not those of these pictures"
        )


def check_head(head: Floats, gaze: Floats, where: str) -> None:
    """(n, 2) head and gaze have to go the same way: who turns the head, looks there."""
    known = np.isfinite(head).all(axis=1)
    if known.sum() < FEWEST:
        return
    found = align(angles.pitch_yaw_to_deg(head[known]), angles.pitch_yaw_to_deg(gaze[known]))
    _refuse(found, where, "gaze labels against head poses")


def check_colours(pictures: Picture, where: str) -> None:
    """(n, h, w, 3) RGB: skin is redder than it is blue."""
    quarter = pictures.shape[1] // 4
    middle = pictures[:, quarter:-quarter, quarter:-quarter].reshape(len(pictures), -1, 3).mean(axis=1)
    bluer = float((middle[:, 2] > middle[:, 0]).mean())
    if bluer > _MOST:
        raise InputError(
            f"{where}: faces are bluer than red in {bluer:.0%} of the pictures: RED AND BLUE ARE SWAPPED; the "
            "normalised "
            "files hold blue, green, red (OpenCV's order), original pictures are JPEG"
        )


def check_upright(pictures: Picture, where: str) -> None:
    """(n, h, w, 3) RGB: faces are found as they lie, not when turned."""
    chosen = pictures[np.unique(np.linspace(0, len(pictures) - 1, _SEARCHED_FOR_FACES).round().astype(int))]
    ways: dict[str, Callable[[Picture], Picture]] = {
        "as they are": lambda picture: picture,
        "TRANSPOSED (rows are columns, as MATLAB stores them)": lambda picture: picture.transpose(1, 0, 2),
        "UPSIDE DOWN": lambda picture: picture[::-1],
    }
    seen = {
        name: sum(len(detection.detect(np.ascontiguousarray(way(picture)))) > 0 for picture in chosen)
        for name, way in ways.items()
    }
    best = max(seen, key=lambda name: seen[name])
    if seen[best] >= len(chosen) // 2 and seen["as they are"] * 4 < seen[best]:
        raise InputError(
            f"{where}: pictures are {best}: so faces are found in {seen[best]} of {len(chosen)}, as they are in "
            f"{seen['as they are']}; write them in the order of rows that MPIIFaceGaze is distributed in"
        )


def check_signs(answers: Floats, gaze: Floats, where: str) -> None:
    """(n, 2) what a network that knows the convention answers, and (n, 2) the labels, radians."""
    found = align(angles.pitch_yaw_to_deg(answers), angles.pitch_yaw_to_deg(gaze))
    _refuse(found, where, "gaze labels against what the lab base sees in the pictures")
    if min(found.correlation) < _CLEAR:
        log.info(
            "%s: the lab base sees too little in these pictures to tell signs and order of %s",
            where,
            " and ".join(f"{name} (r = {r:.2f})" for name, r in _named(found) if r < _CLEAR),
        )


def _refuse(found: Alignment, where: str, what: str) -> None:
    """:class:`InputError` where another hypothesis than "as they are" is clear."""
    swapped, azimuth, elevation = found.changes()
    mistakes = [
        "pitch and yaw are SWAPPED" * swapped,
        "yaw is turned round (pictures or labels are MIRRORED)" * (azimuth < 0),
        "pitch is turned round (FLIPPED)" * (elevation < 0),
    ]
    changed = (swapped or azimuth < 0, swapped or elevation < 0)
    concerned = [r for r, is_changed in zip(found.correlation, changed, strict=True) if is_changed]
    if concerned and min(concerned) > _CLEAR:
        shown = ", ".join(f"{name} r = {r:.2f}" for name, r in _named(found))
        raise InputError(
            f"{where}: {what}: {' and '.join(filter(None, mistakes))} (mended so: {shown}); labels are pitch, yaw with "
            "pitch = asin(−y), yaw = atan2(−x, −z) in camera coordinates, x right, y down, z forward"
        )


def _named(found: Alignment) -> list[tuple[str, float]]:
    return list(zip(("yaw", "pitch"), found.correlation, strict=True))


def _spread(people: Sequence[Faces]) -> Faces:
    """As many samples of each person, :data:`LOOKED_AT` together."""
    share = max(1, -(-LOOKED_AT // max(len(people), 1)))
    chosen = [np.unique(np.linspace(0, len(one) - 1, share).round().astype(int)) for one in people if len(one)]
    shown = [one for one in people if len(one)]
    if not shown:
        return Faces(np.empty((0, 1, 1, 3), np.uint8), np.empty((0, 2)), np.empty((0, 2)), np.empty((0, 6, 2)))
    picked = list(zip(shown, chosen, strict=True))
    return Faces(
        np.concatenate([one.pictures[rows] for one, rows in picked]),
        np.concatenate([one.gaze[rows] for one, rows in picked]),
        np.concatenate([one.head[rows] for one, rows in picked]),
        np.concatenate([one.landmarks[rows] for one, rows in picked]),
    )
