"""Do pictures and labels of a data set mean what they should? Mix-ups are found in the data and named, not trained on.

What numbers alone show comes first: units, the order of landmarks, how gaze goes with the head. Then what pictures
show: colours, which way up, and whether the lab base (:mod:`training.sample`), which reads the convention of this
project, agrees in sign and order. Only clear findings are refused; what cannot be told is said. All persons are judged
together, and then each beside the others: one whose labels are mirrored does not show among fifteen.
"""

import logging
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from recording import angles, detection
from recording.exceptions import InputError
from recording.pictures import Picture
from registry.intervals import Floats
from training.measuring.alignment import Alignment, align
from training.pretraining.faces import Faces
from training.pretraining.normalisation import SIDE

log = logging.getLogger(__name__)

Names = NDArray[np.str_]
Answer = Callable[[Picture], Floats]
"""(n, 224, 224, 3) uint8 RGB → (n, 2) ``(pitch, yaw)`` radians: the lab base."""

LOOKED_AT = 240
"""Samples of the data set that the pictures are judged by, spread over all persons."""
FEWEST = 12
OF_EACH = 32
"""Samples of each person at least, where there are so many: by these the person is judged alone."""
FEWEST_OF_ONE = 16
_SEARCHED_FOR_FACES = 8
_CLEAR = 0.5
"""Correlation from which a finding is clear."""
_CLEAR_OF_ONE = 0.7
"""The same of one person, of whom there are few samples."""
_MOST = 0.9
_SMALLEST_SPREAD_RAD = 0.01
BY_HEAD, BY_PICTURES = "gaze labels against head poses", "gaze labels against what the lab base sees in the pictures"
_OFF_CENTRE = 0.2
"""Of the picture's side: how far the middle of the landmarks may lie from that of the picture."""


def check(people: Mapping[str, Faces], where: str, answer: Answer) -> None:
    """:class:`InputError` in one line, with what is wrong, for the persons of a data set; ``where`` names it."""
    seen, who = _spread(people)
    if len(seen) < FEWEST:
        log.info("%s: %d samples are too few to tell whether its conventions hold", where, len(seen))
        return
    check_units(seen.gaze, where)
    check_landmarks(seen.landmarks, where)
    check_head(seen.head, seen.gaze, where)
    check_colours(seen.pictures, where)
    check_upright(seen.pictures, where)
    answers = answer(seen.pictures)
    check_signs(answers, seen.gaze, where)
    check_each(who, seen.head, seen.gaze, where, BY_HEAD)
    check_each(who, answers, seen.gaze, where, BY_PICTURES)


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
    found = _aligned(head[known], gaze[known])
    _refuse(found, where, BY_HEAD)


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
    found = _aligned(answers, gaze)
    _refuse(found, where, BY_PICTURES)
    if min(found.correlation) < _CLEAR:
        log.info(
            "%s: the lab base sees too little in these pictures to tell signs and order of %s",
            where,
            " and ".join(f"{name} (r = {r:.2f})" for name, r in _named(found) if r < _CLEAR),
        )


def check_each(who: Names, seen: Floats, gaze: Floats, where: str, what: str) -> None:
    """Each person's (n, 2) gaze labels have to go with what is ``seen`` (n, 2), as most persons' do; ``who`` (n,).

    Where they do not go together for most persons, nobody is accused: then little is seen.
    """
    known = np.isfinite(seen).all(axis=1)
    rows = {str(name): np.flatnonzero(known & (who == name)) for name in np.unique(who)}
    rows = {name: mine for name, mine in rows.items() if len(mine) >= FEWEST_OF_ONE}
    if not rows:
        return
    usual = np.median([_correlations(seen[mine], gaze[mine]) for mine in rows.values()], axis=0)
    found = {name: _aligned(seen[mine], gaze[mine]) for name, mine in rows.items()}
    wrong = {
        name: _mixed_up(one, _CLEAR_OF_ONE)
        for name, one in found.items()
        if all(r > _CLEAR for r, is_changed in zip(usual, _changed(one), strict=True) if is_changed)
    }
    said = [f"{name}: {mistakes}" for name, mistakes in wrong.items() if mistakes]
    if said:
        raise InputError(
            f"{where}: {what}, unlike the other persons': {'; '.join(said)}; mend the labels of these persons, or take "
            "their folders or files away to go on without them"
        )


def _refuse(found: Alignment, where: str, what: str) -> None:
    """:class:`InputError` where another hypothesis than "as they are" is clear."""
    mistakes = _mixed_up(found, _CLEAR)
    if mistakes:
        raise InputError(
            f"{where}: {what}: {mistakes}; labels are pitch, yaw with "
            "pitch = asin(−y), yaw = atan2(−x, −z) in camera coordinates, x right, y down, z forward"
        )


def _mixed_up(found: Alignment, clear: float) -> str:
    """What is wrong where the hypothesis is another than "as they are" and its correlations are ``clear``; else ""."""
    swapped, azimuth, elevation = found.changes()
    mistakes = [
        "pitch and yaw are SWAPPED" * swapped,
        "yaw is turned round (pictures or labels are MIRRORED)" * (azimuth < 0),
        "pitch is turned round (FLIPPED)" * (elevation < 0),
    ]
    concerned = [r for r, is_changed in zip(found.correlation, _changed(found), strict=True) if is_changed]
    if not concerned or min(concerned) <= clear:
        return ""
    shown = ", ".join(f"{name} r = {r:.2f}" for name, r in _named(found))
    return f"{' and '.join(filter(None, mistakes))} (mended so: {shown})"


def _changed(found: Alignment) -> tuple[bool, bool]:
    """Whether the hypothesis changes yaw and pitch."""
    swapped, azimuth, elevation = found.changes()
    return swapped or azimuth < 0, swapped or elevation < 0


def _aligned(seen: Floats, gaze: Floats) -> Alignment:
    """Of (n, 2) and (n, 2) ``(pitch, yaw)``, radians."""
    return align(angles.pitch_yaw_to_deg(seen), angles.pitch_yaw_to_deg(gaze))


def _correlations(seen: Floats, gaze: Floats) -> Floats:
    """(2,) of yaw and of pitch, as they are; 0 where one never changes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [np.corrcoef(seen[:, k], gaze[:, k])[0, 1] for k in (1, 0)]
    return np.asarray(np.nan_to_num(np.array(found)))


def _named(found: Alignment) -> list[tuple[str, float]]:
    return list(zip(("yaw", "pitch"), found.correlation, strict=True))


def _spread(people: Mapping[str, Faces]) -> tuple[Faces, Names]:
    """As many samples of each person, :data:`LOOKED_AT` together or :data:`OF_EACH`; and (n,) whose each is."""
    share = max(OF_EACH, -(-LOOKED_AT // max(len(people), 1)))
    picked = {
        name: (one, np.unique(np.linspace(0, len(one) - 1, share).round().astype(int)))
        for name, one in people.items()
        if len(one)
    }
    if not picked:
        empty = Faces(np.empty((0, 1, 1, 3), np.uint8), np.empty((0, 2)), np.empty((0, 2)), np.empty((0, 6, 2)))
        return empty, np.empty(0, np.str_)
    shown = Faces(
        np.concatenate([one.pictures[rows] for one, rows in picked.values()]),
        np.concatenate([one.gaze[rows] for one, rows in picked.values()]),
        np.concatenate([one.head[rows] for one, rows in picked.values()]),
        np.concatenate([one.landmarks[rows] for one, rows in picked.values()]),
    )
    return shown, np.repeat(list(picked), [len(rows) for _, rows in picked.values()])
