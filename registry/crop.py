"""What a registered version reads of a picture: where the driver view is in it, and where the face is in that."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from recording import detection, layouts
from recording.exceptions import InputError
from recording.face import NONE, Face
from recording.layouts import Layout, View
from recording.pictures import Picture

DETECTED: Literal["detected"] = "detected"


class Strict(BaseModel):
    """Part of a contract: a field that this version does not know is a promise that it cannot keep."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rectangle(Strict):
    """A rectangle in a picture of ``width`` × ``height`` pixels."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    w: int = Field(gt=0)
    h: int = Field(gt=0)


class Crop(Strict):
    """Where in the recording the pictures were cut out: what serving cuts a composite picture by."""

    layout: str
    view: str = "driver"
    rectangles: tuple[Rectangle, ...] | None = None
    """The driver view: one for each variant of the layout, none where the whole picture is the driver; ``None`` in
    versions that were registered before contracts had rectangles."""
    face: Rectangle | Literal["detected"] | None = None
    """The part of the driver view that the network reads; ``None``: all of it. ``detected``: the face, wherever it is,
    of a version that was trained on several drives with different rectangles."""
    room: float = 0.0
    """Of ``detected``: the side of the rectangle in sizes of the face, at least: the smallest of the drives that the
    version was trained on. 0 in others, and in those that were registered before it was kept."""

    @classmethod
    def of(
        cls,
        layout: str,
        variants: Iterable[Layout],
        faces: Iterable[Face | None] = (),
        rooms: Iterable[float] = (),
    ) -> "Crop":
        """The promise for pictures that were cut out with the variants of a layout, and then to each drive's face;
        ``rooms``: see :class:`recording.face.Choice`."""
        views = tuple(_rectangle(one.width, one.height, one.views["driver"]) for one in variants)
        different = set(faces) or {None}
        if len(different) == 1:
            return cls(layout=layout, rectangles=views, face=_face(different.pop()))
        least = min(filter(None, rooms), default=0.0)
        return cls(layout=layout, rectangles=views, face=DETECTED, room=least)

    @property
    def detected(self) -> bool:
        """Whether the face rectangle has to be found on the pictures."""
        return self.face == DETECTED

    @property
    def reads_face(self) -> bool:
        """Whether the network reads a face, and not the whole driver view."""
        return self.face is not None

    @property
    def rectangle(self) -> Face | None:
        """The face rectangle that the contract holds."""
        one = self.face
        return Face(one.width, one.height, View(one.x, one.y, one.w, one.h)) if isinstance(one, Rectangle) else None

    @property
    def face_in_words(self) -> str:
        """``none``, ``detected``, or the rectangle and the size of the driver view that it lies in."""
        if not isinstance(self.face, Rectangle):
            return self.face or NONE
        return f"{self.rectangle} of {self.face.width}x{self.face.height}"

    def settled(self, found: Face | None) -> "Crop":
        """For pictures of one drive: with the rectangle that was ``found`` there, where one has to be found."""
        return self.model_copy(update={"face": _face(found)}) if self.detected else self

    def settled_in(self, picture: Picture, name: str = "picture") -> "Crop":
        """:meth:`settled` with the face in a single picture of the driver view; :class:`InputError` where none is."""
        return self.settled(detection.find_in(picture, name, self.room)) if self.detected else self

    def cut(self, picture: Picture, name: str = "picture") -> Picture:
        """What the network reads of a picture of the driver view.

        Raises :class:`InputError` for other proportions, or where the face has to be found and is not.
        """
        if self.detected:
            return self.cut_driver_view(picture, name)
        return picture if self.rectangle is None else self.rectangle.cut(picture, name)

    def cut_driver_view(self, picture: Picture, name: str = "picture") -> Picture:
        """:meth:`cut` for what is known to show the driver view, whatever its proportions became."""
        if self.detected:
            return self.settled_in(picture, name).cut_driver_view(picture, name)
        return picture if self.rectangle is None else self.rectangle.cut_scaled(picture, name)

    def variants(self) -> tuple[Layout, ...]:
        """The driver view in each variant of the layout; raises :class:`InputError` when it is not known."""
        if self.rectangles is not None:
            return tuple(
                Layout(self.layout, one.width, one.height, {"driver": View(one.x, one.y, one.w, one.h)})
                for one in self.rectangles
            )
        if self.layout not in layouts.NAMES:
            raise InputError(
                f"the version does not say where the driver is in pictures of layout {self.layout}; "
                "register the model again, or give the driver view alone"
            )
        return layouts.variants(self.layout)


def _face(face: Face | None) -> Rectangle | None:
    return None if face is None else _rectangle(face.width, face.height, face.view)


def _rectangle(width: int, height: int, view: View) -> Rectangle:
    return Rectangle(width=width, height=height, x=view.x, y=view.y, w=view.w, h=view.h)
