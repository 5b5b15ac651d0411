"""The face rectangle: the part of the driver view that the network reads, one for a whole drive.

The network learnt from pictures of faces; in the whole driver view the eyes are a few pixels. So whatever goes to the
network is cut to the face first, in the same place for all pictures of a drive. :mod:`recording.detection` finds it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from recording.exceptions import InputError
from recording.layouts import SMALLEST_VIEW, Layout, View
from recording.pictures import Picture

AUTO, NONE = "auto", "none"
SMALLEST_SIDE = 24
"""Pixels; a smaller rectangle shows no eyes."""

Cutter = Callable[[Picture, str], Picture]
"""From a picture of the driver view, and its name in messages, to the part of it that the network reads."""


def whole(picture: Picture, name: str) -> Picture:
    """The cutter where there is no face rectangle: the driver view as it is."""
    return picture


@dataclass(frozen=True)
class Face:
    """A rectangle in a driver view of ``width`` × ``height`` pixels; :class:`InputError` where it does not fit in."""

    width: int
    height: int
    view: View

    def __post_init__(self) -> None:
        view, size = self.view, f"{self.width}x{self.height}"
        if min(view.x, view.y) < 0 or view.x + view.w > self.width or view.y + view.h > self.height:
            raise InputError(f"face={self}: reaches outside the driver view of {size} pixels; give x,y,w,h inside it")
        if min(view.w, view.h) < SMALLEST_SIDE:
            raise InputError(f"face={self}: shows no eyes; give a width and height of at least {SMALLEST_SIDE} pixels")

    def __str__(self) -> str:
        return f"{self.view.x},{self.view.y},{self.view.w},{self.view.h}"

    def within(self, width: int, height: int, name: str = "picture") -> View:
        """The rectangle in the same view at another resolution; :class:`InputError` where too little of it is left."""
        view = self.view.scaled(width / self.width, height / self.height, width, height)
        if min(view.w, view.h) < SMALLEST_VIEW:
            raise InputError(
                f"{name}: of {width}x{height} pixels the face has {view.w}x{view.h}; give a larger picture"
            )
        return view

    def share(self, across: float, down: float) -> tuple[float, float]:
        """A place in the rectangle, as shares of its width and height, as shares of the driver view's."""
        view = self.view
        return (view.x + across * view.w) / self.width, (view.y + down * view.h) / self.height

    def cut(self, picture: Picture, name: str = "picture") -> Picture:
        """The face in a picture (h, w, 3) of the driver view at any resolution; a view into the same memory.

        Raises :class:`InputError` for a picture of other proportions: it shows something else than the driver view.
        """
        height, width = picture.shape[:2]
        if not Layout("driver", self.width, self.height, {}).fits(width, height):
            raise InputError(
                f"{name}: {width}x{height} pixels have not the proportions of the driver view that the face rectangle "
                f"lies in ({self.width}x{self.height}); give the whole driver view"
            )
        return self.cut_scaled(picture, name)

    def cut_scaled(self, picture: Picture, name: str = "picture") -> Picture:
        """:meth:`cut` for what is known to show the driver view, though rounded or squeezed to other proportions."""
        view = self.within(picture.shape[1], picture.shape[0], name)
        return picture[view.y : view.y + view.h, view.x : view.x + view.w]


def cutter(face: Face | None) -> Cutter:
    """What cuts pictures of the driver view to this rectangle."""
    return whole if face is None else face.cut


@dataclass(frozen=True)
class Other:
    """A second face that might be the driver's: the rectangle that it would have, on how many of the pictures it was
    seen, and its size in sizes of the one that was taken."""

    view: View
    seen: int
    size: float


@dataclass(frozen=True)
class Choice:
    """The face rectangle of a drive (``None``: the whole driver view), and how it came about.

    ``seen`` of ``looked_at`` pictures agree on it; both are 0 where nothing was looked for. ``unfit``: why no rectangle
    could lie in these pictures, "" where one could. ``borrowed``: it is that of other
    drives, in which these pictures show a face too. ``room``: its side in sizes of the face that was found; 0 where
    none was, or where that was not written down. ``other``: another face that might have been taken as well.
    """

    face: Face | None
    seen: int = 0
    looked_at: int = 0
    unfit: str = ""
    borrowed: bool = False
    room: float = 0.0
    other: Other | None = None

    @classmethod
    def from_json(cls, said: dict[str, Any], view: View) -> "Choice":
        """What :meth:`to_json` wrote, of a drive with that driver view."""
        rectangle = said["rectangle"]
        found = None if rectangle is None else Face(view.w, view.h, View(**rectangle))
        other = said.get("other")
        second = None if other is None else Other(View(**other["rectangle"]), other["seen"], other["size"])
        return cls(found, said["seen"], said["looked_at"], room=said.get("room", 0.0), other=second)

    def to_json(self) -> dict[str, Any]:
        """As ``drive.json`` keeps it."""
        rectangle = None if self.face is None else asdict(self.face.view)
        said = {"rectangle": rectangle, "seen": self.seen, "looked_at": self.looked_at, "room": self.room}
        if self.other is not None:
            about = {"rectangle": asdict(self.other.view), "seen": self.other.seen, "size": self.other.size}
            said["other"] = about
        return said

    @property
    def given(self) -> bool:
        """Whether somebody gave the rectangle, and it was not looked for."""
        return self.face is not None and not self.looked_at

    @property
    def failed(self) -> bool:
        """Whether a face was wanted and not found."""
        return self.face is None and (self.looked_at > 0 or bool(self.unfit))

    @property
    def is_loud(self) -> bool:
        """Whether somebody should look at it: no face where one was wanted, another drive's, or one of two."""
        return self.failed or self.borrowed or self.other is not None

    def describe(self) -> str:
        """One line for logs and reports."""
        if self.unfit:
            return f"NO FACE RECTANGLE: {self.unfit}; the whole pictures are used. face=none says that it should be so"
        if self.failed:
            return (
                f"NO FACE RECTANGLE: {self.seen} of {self.looked_at} pictures agree on a face, too few; the whole "
                "driver view is used, in which eyes are small. Where there is a face, give it: face=x,y,w,h"
            )
        if self.face is None:
            return "no face rectangle asked for: the whole driver view"
        if self.borrowed:
            return (
                f"FACE RECTANGLE OF THE OTHER DRIVES: {self.face} (x,y,w,h); only {self.seen} of {self.looked_at} "
                "pictures of this one show a face there, too few to find it by. face=x,y,w,h gives one to all"
            )
        source = "as given" if self.given else f"found on {self.seen} of {self.looked_at} pictures"
        said = (
            f"face rectangle {self.face} (x,y,w,h) of the driver view's {self.face.width}x{self.face.height}, {source}"
        )
        return said if self.other is None else f"{self._two(said)}. If that is the driver, give face={self._second}"

    @property
    def two_faces(self) -> str:
        """Which of two faces was taken, and where the other one is; "" where no other might be the driver's."""
        if self.face is None or self.other is None:
            return ""
        return f"{self._two(f'{self.face} (x,y,w,h), on {self.seen} of {self.looked_at} pictures')}, in {self._second}"

    def _two(self, taken: str) -> str:
        assert self.other is not None
        which = "larger" if self.other.size <= 1 else "one that is seen far more often"
        return (
            f"TWO FACES IN VIEW, the {which} was taken for the driver's: {taken}; the other one, {self.other.size:.2f} "
            f"times as large, was found on {self.other.seen} of them"
        )

    @property
    def _second(self) -> Face:
        """The rectangle of the other face."""
        assert self.face is not None and self.other is not None
        return Face(self.face.width, self.face.height, self.other.view)


def parse(text: str) -> View | None:
    """The rectangle in ``x,y,w,h``, ``None`` for ``auto`` and ``none``; :class:`InputError` for anything else."""
    if text in (AUTO, NONE):
        return None
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"face={text!r}: choose {AUTO}, {NONE}, or x,y,w,h in pixels of the driver view, as 300,250,420,420"
        ) from None
    if min(w, h) < SMALLEST_SIDE:
        raise InputError(f"face={text}: shows no eyes; give a width and height of at least {SMALLEST_SIDE} pixels")
    return View(x, y, w, h)
