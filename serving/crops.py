"""The driver view of a picture, cut out the way the model's training pictures were: its contract says how."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

import numpy as np

from recording import arrows, detection
from recording.exceptions import InputError
from recording.face import Choice
from recording.layouts import Layout, View
from recording.pictures import Picture, as_kept, is_lossless
from registry.crop import Crop

CropChoice = Literal["driver", "composite", "face", "auto"]
CHOICES: tuple[str, ...] = get_args(CropChoice)
Came = Literal["jpeg", "png", "video"]
"""How a picture came here: as a file (:func:`came_as`), or as a video's frame."""
WHOLE = Crop(layout="driver", rectangles=())
"""The promise of a model whose pictures are the driver and nothing else."""

WHERE_TO_SAY = "crop= of /v1/gaze and /v1/stream, --crop of predict, “The picture shows” in the app"
"""Where one says what a picture shows."""
_ALONE = f"give the driver view alone, and say so ({WHERE_TO_SAY})"

WIDEST_CAMERA = 2.4
"""No camera takes pictures longer than this many times their height (or higher): cinema's widest is 2.39."""
NO_FACE_ADVICE = (
    "give pictures of one drive that show it, or the face alone (--crop face; in the app, “the face alone”)"
)
"""What to do where pictures do not agree on a face."""
ROUNDING = 2
"""Edges of the same view scaled from two sizes differ by so many pixels at most."""


Say = Callable[[str], object]
"""Takes a line that a person should read."""


def unsaid(line: str) -> None:
    """For those who have nobody to tell."""


class Promise(Protocol):
    """What of a picture a version reads: its contract's, or one that follows a stream (:mod:`serving.steady`)."""

    @property
    def reads_face(self) -> bool: ...

    def variants(self) -> tuple[Layout, ...]: ...

    def cut(self, picture: Picture, name: str) -> Picture: ...

    def cut_driver_view(self, picture: Picture, name: str) -> Picture: ...


def driver_slices(width: int, height: int, crop: str, promised: Promise) -> tuple[slice, slice]:
    """Rows and columns of the driver view in a picture of that size.

    ``driver``: the whole picture is it. ``composite``: it is part of a composite frame of the layout that
    ``promised`` (the contract) holds, :class:`InputError` when the size fits none of its variants. ``auto``:
    composite where the picture fits and is longer than any camera's; a two-view composite that is 16:9, like any
    photograph, needs ``composite``. ``face``: the whole picture is the face already, and so all of the driver view
    that the network reads.
    """
    whole = slice(0, height), slice(0, width)
    if crop in ("driver", "face") or (crop == "auto" and max(width, height) <= WIDEST_CAMERA * min(width, height)):
        return whole
    variants = promised.variants()
    if not variants:  # the pictures were the driver and nothing else, whatever the layout is called
        return whole
    fitting = [variant.scaled_to(width, height)["driver"] for variant in variants if variant.fits(width, height)]
    if crop == "auto" and not fitting:
        return whole
    view = _agreed(fitting, width, height, variants)
    return slice(view.y, view.y + view.h), slice(view.x, view.x + view.w)


def driver_view(picture: np.ndarray, crop: str, promised: Promise) -> np.ndarray:
    """The driver view of ``picture`` (h, w, 3), see :func:`driver_slices`; a view into the same memory."""
    height, width = picture.shape[:2]
    return picture[driver_slices(width, height, crop, promised)]


def eyes(promised: Crop, crop: str = "driver") -> arrows.Point:
    """Where gaze begins in what :func:`driver_view` gives, as shares of its width and height."""
    return arrows.origin(None if crop == "face" else promised.rectangle)


def settled(picture: np.ndarray, crop: str, promised: Crop, name: str = "picture", say: Say = unsaid) -> Crop:
    """The contract's promise; with the face of this picture (h, w, 3) alone where the version has to find it.

    ``say`` hears of a second face. Raises :class:`InputError` as :func:`driver_slices`, and where no face is found.
    """
    if crop == "face" or not promised.detected:
        return promised
    face, choice = detection.find_all_in(driver_view(picture, crop, promised), name, promised.room)
    say_two_faces(choice, name, say)
    return promised.settled(face)


def say_two_faces(choice: Choice, name: str, say: Say) -> None:
    """Tell ``say`` which of two faces was taken, and what to give where it is the other one."""
    if choice.two_faces:
        say(two_faces(choice, name))


def two_faces(choice: Choice, name: str) -> str:
    """The same as a line."""
    return f"{name}: {choice.two_faces}. If that is the driver, give that face alone, and say so ({WHERE_TO_SAY})"


def came_as(data: bytes) -> Came:
    """What encoded bytes, JPEG or PNG, are."""
    return "png" if is_lossless(data) else "jpeg"


def network_view(
    picture: np.ndarray, crop: str, promised: Promise, name: str = "picture", *, came: Came = "jpeg"
) -> np.ndarray:
    """What the network reads of ``picture`` (h, w, 3) RGB: the driver view cut to the face rectangle that is promised.

    What came without loss goes through the JPEG that training read (:mod:`recording.preprocess`); but not a PNG of the
    face alone, as nobody knows where in a driver view it was. Raises :class:`InputError` as :func:`driver_slices`,
    where a picture that should be the driver view has other proportions, and for the face alone where the whole driver
    view is read. ``name`` stands for the picture in messages.
    """
    if crop == "face":
        if not promised.reads_face:
            raise InputError(
                f"{name}: said to be the face alone, but this version reads the whole driver view; give that, "
                f"and say so ({WHERE_TO_SAY})"
            )
        return as_kept(picture, picture) if came == "video" else picture
    view = driver_view(picture, crop, promised)
    is_composite = view.shape != picture.shape
    part = promised.cut_driver_view(view, name) if is_composite else _part_of_whole(picture, promised, name)
    if came == "jpeg":
        return part
    return as_kept(part, view, maybe_before=came == "png" and not is_composite)


def _part_of_whole(picture: np.ndarray, promised: Promise, name: str) -> np.ndarray:
    """What is promised of a picture that should be the driver view."""
    try:
        return promised.cut(picture, name)
    except InputError as error:
        said = f"{error}, or say that it is a composite frame or the face alone ({WHERE_TO_SAY})"
        raise InputError(said) from None


def _agreed(fitting: list[View], width: int, height: int, variants: Sequence[Layout]) -> View:
    """The rectangle that all fitting variants agree on, but for rounding."""
    if not fitting:
        sizes = " or ".join(f"{variant.width}x{variant.height}" for variant in variants)
        raise InputError(
            f"a {width}x{height} picture has not the proportions of a composite frame of this model ({sizes}); {_ALONE}"
        )
    edges = np.array([[view.x, view.y, view.x + view.w, view.y + view.h] for view in fitting])
    if np.ptp(edges, axis=0).max() > ROUNDING:
        raise InputError(f"a {width}x{height} picture fits several layouts that this model was trained on; {_ALONE}")
    return fitting[0]
