"""The driver view of a composite frame, cut out the way the model's training pictures were."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from recording.exceptions import InputError

CropChoice = Literal["driver", "composite", "auto"]
CHOICES: tuple[str, ...] = get_args(CropChoice)


@dataclass(frozen=True)
class Composite:
    """A composite frame of ``width`` × ``height`` pixels and the driver view in it (left, top, width, height)."""

    width: int
    height: int
    driver: tuple[int, int, int, int]

    def fits(self, width: int, height: int) -> bool:
        """Whether a picture of that size has these proportions, within one pixel on each side (exports round)."""
        narrowest = max((width - 1) / self.width, (height - 1) / self.height)
        widest = min((width + 1) / self.width, (height + 1) / self.height)
        return narrowest <= widest

    def slices(self, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of the driver view in a composite of that size."""
        x, y, w, h = self.driver
        across, down = width / self.width, height / self.height
        left, right = (min(round(edge * across), width) for edge in (x, x + w))
        top, bottom = (min(round(edge * down), height) for edge in (y, y + h))
        if right - left < 16 or bottom - top < 16:
            raise InputError(f"the driver view of a {width}x{height} frame is too small to use; send a larger frame")
        return slice(top, bottom), slice(left, right)


# The recording's two exports: with the cabin view on the right, and the older one without it.
DASHGAZE = (
    Composite(3008, 1080, (6, 7, 950, 1068)),
    Composite(1920, 1080, (6, 7, 950, 1068)),
)


def driver_slices(width: int, height: int, crop: str) -> tuple[slice, slice]:
    """Rows and columns of the driver view in a picture of that size.

    ``driver``: the whole picture is it. ``composite``: it is part of a composite frame, :class:`InputError` when
    the size fits none. ``auto``: composite where the picture has the three-view proportions, which no camera
    has; the older two-view export is 16:9 like any photograph and needs ``composite``.
    """
    whole = slice(0, height), slice(0, width)
    if crop == "driver":
        return whole
    if crop == "auto":
        return DASHGAZE[0].slices(width, height) if DASHGAZE[0].fits(width, height) else whole
    for composite in DASHGAZE:
        if composite.fits(width, height):
            return composite.slices(width, height)
    sizes = " or ".join(f"{composite.width}x{composite.height}" for composite in DASHGAZE)
    raise InputError(
        f"a {width}x{height} picture has not the proportions of a composite frame ({sizes}); "
        "send the driver view alone with crop=driver"
    )


def driver_view(picture: np.ndarray, crop: str) -> np.ndarray:
    """The driver view of ``picture`` (h, w, 3), see :func:`driver_slices`; a view into the same memory."""
    height, width = picture.shape[:2]
    return picture[driver_slices(width, height, crop)]
