"""Finding the face of a drive: where most of some dozens of its pictures show one.

The detector is scikit-image's cascade of local binary patterns (Liao et al. 2007, "Learning multi-scale block local
binary patterns for face recognition"), whose model lies inside its package. It finds faces that look roughly into the
camera. So the rectangle is what many pictures agree on; single missed or false detections do not move it.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from recording import pictures
from recording.exceptions import InputError
from recording.face import NONE, SMALLEST_SIDE, Choice, Face, Other, parse
from recording.layouts import View
from recording.pictures import Picture

if TYPE_CHECKING:
    from skimage.feature import Cascade

LOOKED_AT = 48
"""Pictures of a drive that are searched for a face."""
LEAST_SEEN, LEAST_SHARE = 3, 0.2
"""A rectangle is what at least so many pictures, and such a share of those looked at, agree on."""
LEAST_BORROWED = 2
"""Pictures that show a face in the rectangle of other drives, where it is to serve for a drive that has none."""
NEARLY_AS_OFTEN = 0.5
"""Of the pictures that the face seen most is on: faces on so many may be the driver's, whose is the largest of them."""
COMPARABLE_SIZE, COMPARABLE_SHARE = 0.7, 0.25
"""Another face that is larger than so much of the driver's, on more than such a share of the pictures, is said."""
MARGIN = 0.15
"""Of the detected face's size, on every side: room for a head that turns."""

_WORKING_SIDE = 320
_SMALLEST_FACE = 1 / 8  # of the shorter side of the view
_SCALE, _STEP, _NEIGHBOURS, _OVERLAP = 1.2, 1.0, 3, 0.5
_OUTLIERS = 0.05  # of the boxes that agree, to each side
_SAME_PLACE, _SAME_SIZE = 0.75, 1.6  # in face sizes; times as large
_MOST_OTHERS = 4  # persons in a car

T = TypeVar("T")

Boxes = npt.NDArray[np.float64]
"""(n, 4) left, top, width, height of faces in a picture, pixels."""


def find(files: Sequence[Path], asked: str) -> Choice:
    """The face rectangle of a drive's driver pictures (at least one file): ``auto``, ``none`` or ``x,y,w,h``.

    ``auto`` looks at some dozens of them, spread evenly. Raises :class:`InputError` where a picture cannot be read or
    the rectangle does not fit.
    """
    if asked == NONE:
        return Choice(None)
    given = parse(asked)
    if given is not None:
        height, width = read(files[0]).shape[:2]
        return Choice(Face(width, height, given))
    return search(files, read)


def search(shown: Sequence[T], read: Callable[[T], Picture], room: float = 0.0) -> Choice:
    """What most of some dozens of a drive's pictures, spread evenly, show a face in.

    ``read`` makes a picture of the driver view of what is ``shown``; ``room``: see :func:`choose`.
    """
    return choose(*_looks(shown, read), room=room)


def own_or_borrowed(own: Choice, shown: Sequence[T], read: Callable[[T], Picture], faces: Sequence[Face]) -> Choice:
    """A drive's own choice, or where it shows too few faces the rectangle of others, of which these are the ``faces``:
    one dark drive must not take the faces of all."""
    if not own.failed or own.unfit or not faces:
        return own
    return borrow(shown, read, faces) or own


def borrow(shown: Sequence[T], read: Callable[[T], Picture], faces: Sequence[Face]) -> Choice | None:
    """For a drive in which too few pictures show a face: the rectangle that holds those of other drives, where some of
    its pictures show a face in that very place.

    ``None`` where no other drive has a driver view of that size, or hardly a picture has a face there: then it may be
    another camera. Raises :class:`InputError` where a picture cannot be read.
    """
    looks, width, height = _looks(shown, read)
    views = [face.view for face in faces if (face.width, face.height) == (width, height)]
    if not views:
        return None
    x, y = min(view.x for view in views), min(view.y for view in views)
    right, bottom = max(view.x + view.w for view in views), max(view.y + view.h for view in views)
    middles = [boxes[:, :2] + boxes[:, 2:] / 2 for boxes in looks]
    seen = sum(bool(((at > [x, y]) & (at < [right, bottom])).all(axis=1).any()) for at in middles)
    if seen < LEAST_BORROWED:
        return None
    return Choice(Face(width, height, View(x, y, right - x, bottom - y)), seen, len(looks), borrowed=True)


def _looks(shown: Sequence[T], read: Callable[[T], Picture]) -> tuple[list[Boxes], int, int]:
    """The faces in some dozens of the pictures, in pixels of the largest of them should their sizes differ, and its
    width and height."""
    with ThreadPoolExecutor(2, thread_name_prefix="faces") as pool:
        looks = list(pool.map(lambda one: _look(read(one)), spread(shown)))
    width, height = max(size for _, size in looks)
    return [boxes * np.tile([width / w, height / h], 2) for boxes, (w, h) in looks], width, height


def spread(among: Sequence[T]) -> list[T]:
    """Some dozens of the pictures of a drive, first and last included, to look for the face in."""
    return [among[k] for k in np.unique(np.linspace(0, len(among) - 1, LOOKED_AT).round().astype(int))] if among else []


def find_in(picture: Picture, name: str, room: float) -> Face:
    """The face in a single picture of a driver view, with at least that ``room``; :class:`InputError` where none is
    found."""
    face, _ = find_all_in(picture, name, room)
    return face


def find_all_in(picture: Picture, name: str, room: float) -> tuple[Face, Choice]:
    """As :func:`find_in`, with what else was found."""
    height, width = picture.shape[:2]
    choice = choose([detect(picture)], width, height, room=room)
    if choice.face is None:
        raise InputError(
            f"{name}: no face found, where this version needs one (it was trained on drives with the face in different "
            "places); give a picture that shows the face from the front, or the face alone"
        )
    return choice.face, choice


def detect(picture: Picture) -> Boxes:
    """The faces in a picture (h, w, 3) uint8 RGB of any size; takes about 0.05 s of one core."""
    height, width = picture.shape[:2]
    shrink = max(1.0, max(height, width) / _WORKING_SIDE)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    side = min(small.shape[:2])
    least = max(SMALLEST_SIDE, round(side * _SMALLEST_FACE))
    found = _cascade().detect_multi_scale(
        cv2.cvtColor(small, cv2.COLOR_RGB2GRAY),
        scale_factor=_SCALE,
        step_ratio=_STEP,
        min_size=(least, least),
        max_size=(side, side),
        min_neighbor_number=_NEIGHBOURS,
        intersection_score_threshold=_OVERLAP,
    )
    boxes = [(one["c"], one["r"], one["width"], one["height"]) for one in found]
    found_at: Boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4) * shrink
    return found_at


def choose(looks: Sequence[Boxes], width: int, height: int, least: int = LEAST_SEEN, room: float = 0.0) -> Choice:
    """One rectangle in a driver view of ``width`` × ``height`` pixels from what was detected in each picture.

    The face is where most pictures have one; of several that are seen about as often the largest, since the driver sits
    nearest. The rectangle holds what they agree on, but for outliers, and a margin.
    It is a square, as the pictures of faces are that networks learn from, as far as the view has room for one.
    ``least``: how many pictures have to agree; of fewer, all. ``room``: its side in sizes of the face, at least. One
    picture does not show how far a head turns: without it the rectangle would be closer than that of any drive.
    """
    people = _people(looks)
    enough = NEARLY_AS_OFTEN * max(map(len, people))
    agreed = max((boxes for boxes in people if len(boxes) >= enough), key=_size)
    if len(agreed) < max(1, min(least, len(looks)), LEAST_SHARE * len(looks)):
        return Choice(None, len(agreed), len(looks))
    view = _rectangle(agreed, width, height, room)
    other = None
    for boxes in people:
        size = _size(boxes) / _size(agreed)
        # The first is what the most pictures show the most of: where it was not taken, that is said of any size.
        rivals = boxes is not agreed and (size > COMPARABLE_SIZE or boxes is people[0])
        if other is None and rivals and len(boxes) > COMPARABLE_SHARE * len(looks):
            other = Other(_rectangle(boxes, width, height, room), len(boxes), round(size, 2))
    largest = max(view.w, view.h) / _size(agreed)
    return Choice(Face(width, height, view), len(agreed), len(looks), room=largest, other=other)


def _rectangle(agreed: Boxes, width: int, height: int, room: float) -> View:
    """The square, in a view of that size, that holds a face with a margin wherever these boxes have it."""
    left, top = np.quantile(agreed[:, :2], _OUTLIERS, axis=0)
    right, bottom = np.quantile(agreed[:, :2] + agreed[:, 2:], 1 - _OUTLIERS, axis=0)
    size = _size(agreed)
    side = max(max(right - left, bottom - top) + 2 * MARGIN * size, room * size)
    x, w = _span((left + right) / 2, side, width)
    y, h = _span((top + bottom) / 2, side, height)
    return View(x, y, w, h)


def _size(boxes: Boxes) -> float:
    """How large the face is in the boxes of one, pixels; 0 of none."""
    return float(np.median(boxes[:, 2])) if len(boxes) else 0.0


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    """Start and length of a side inside 0 … ``limit``: moved where it would reach outside, cut where it is too long."""
    length = min(round(side), limit)
    return int(np.clip(round(centre - length / 2), 0, limit - length)), length


def _people(looks: Sequence[Boxes]) -> list[Boxes]:
    """The boxes, one a picture, of each face that is on many pictures; first the one that :func:`_agreed` finds.

    A second person is elsewhere in the view, and seen beside the first. Boxes of another size in the same place are
    the same face, and so is one that is never there at the same time: somebody who sits differently after a break.
    """
    people = [_agreed([boxes for boxes in looks if len(boxes)])]
    if not len(people[0]):
        return people
    relevant = max(1.0, min(NEARLY_AS_OFTEN * len(people[0]), COMPARABLE_SHARE * len(looks)))
    together = max(1, min(LEAST_SEEN, int(COMPARABLE_SHARE * len(looks))))
    left = list(looks)
    for _ in range(_MOST_OTHERS):
        left = [_elsewhere(boxes, np.median(people[-1], axis=0)) for boxes in left]
        if sum(len(boxes) > 0 for boxes in left) < relevant:
            break
        people.append(_agreed([boxes for boxes in left if len(boxes)]))
    first = _is_in(people[0], looks)
    return people[:1] + [boxes for boxes in people[1:] if (first & _is_in(boxes, looks)).sum() >= together]


def _is_in(boxes: Boxes, looks: Sequence[Boxes]) -> npt.NDArray[np.bool_]:
    """(n,) in which of the looks the face with these boxes is seen."""
    middle = np.median(boxes, axis=0)
    return np.array([len(_near(middle, [look])) > 0 for look in looks])


def _elsewhere(boxes: Boxes, face: npt.NDArray[np.float64]) -> Boxes:
    """The boxes whose middle is not in the place of that face, be they larger or smaller."""
    away = np.hypot(*(boxes[:, :2] + boxes[:, 2:] / 2 - face[:2] - face[2:] / 2).T)
    elsewhere: Boxes = boxes[away >= _SAME_PLACE * np.maximum(boxes[:, 2], face[2])]
    return elsewhere


def _agreed(looks: list[Boxes]) -> Boxes:
    """(n, 4) the boxes, one a picture, of the face that most pictures have; of several, the driver's is larger."""
    best, score = np.empty((0, 4)), 0.0
    for seed in np.concatenate([best, *looks]):
        members = np.array([seed])
        for _ in range(3):  # the median of those that agree is a better middle than any one of them
            members = _near(np.median(members, axis=0), looks)
            if not len(members):
                break
        size = float(members[:, 2].sum())
        if size > score:
            best, score = members, size
    return best


def _near(box: npt.NDArray[np.float64], looks: list[Boxes]) -> Boxes:
    """Of every picture that has one at about the place and of about the size of ``box``, the nearest."""
    near = []
    for boxes in looks:
        away = np.hypot(*(boxes[:, :2] + boxes[:, 2:] / 2 - box[:2] - box[2:] / 2).T) / box[2]
        ratio = boxes[:, 2] / box[2]
        same = (away < _SAME_PLACE) & (ratio < _SAME_SIZE) & (ratio > 1 / _SAME_SIZE)
        if same.any():
            near.append(boxes[np.argmin(np.where(same, away, np.inf))])
    return np.array(near).reshape(-1, 4)


def _look(picture: Picture) -> tuple[Boxes, tuple[int, int]]:
    return detect(np.ascontiguousarray(picture)), (picture.shape[1], picture.shape[0])


def read(file: Path) -> Picture:
    """The picture in a file; :class:`InputError` where it cannot be read."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); prepare the folder again") from None
    return pictures.decode(content, str(file))


@functools.cache
def _cascade() -> "Cascade":
    # Here: half a second and 20 MB, which servers need only for versions that have to find the face.
    from skimage import data
    from skimage.feature import Cascade

    return Cascade(data.lbp_frontal_face_cascade_filename())
