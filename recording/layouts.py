"""Where the views lie in a composite video: named layouts, layout files, and how they scale to a video's size.

A layout is measured on one reference size. A video of the same proportions (within one pixel, since exports
round odd sizes) uses the same rectangles, scaled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recording import files
from recording.exceptions import InputError

VIEWS = ("driver", "road", "camera")
SMALLEST_VIEW = 16
"""A scaled view narrower or lower than this many pixels shows no eyes: the video is too small."""

DEFAULT_FPS = 30.0
"""Of a dash camera's recording, where neither its pictures nor its header have times."""


@dataclass(frozen=True)
class View:
    """One rectangle of the composite picture, in pixels: left, top, width, height."""

    x: int
    y: int
    w: int
    h: int

    def scaled(self, across: float, down: float, width: int, height: int) -> "View":
        """This view in a picture ``across`` times as wide and ``down`` times as high, kept inside width × height."""
        left, right = (min(round(edge * across), width) for edge in (self.x, self.x + self.w))
        top, bottom = (min(round(edge * down), height) for edge in (self.y, self.y + self.h))
        return View(left, top, right - left, bottom - top)


@dataclass(frozen=True)
class Layout:
    """The views of a composite video of ``width`` × ``height`` pixels; ``views`` always holds ``driver``."""

    name: str
    width: int
    height: int
    views: Mapping[str, View]

    def fits(self, width: int, height: int) -> bool:
        """Whether a video of that size has this layout's proportions, within one pixel on each side."""
        narrowest = max((width - 1) / self.width, (height - 1) / self.height)
        widest = min((width + 1) / self.width, (height + 1) / self.height)
        return narrowest <= widest

    def scaled_to(self, width: int, height: int) -> dict[str, View]:
        """The views of a video of that size; :class:`InputError` when one of them would be too small to use."""
        across, down = width / self.width, height / self.height
        views = {name: view.scaled(across, down, width, height) for name, view in self.views.items()}
        for name, view in views.items():
            if min(view.w, view.h) < SMALLEST_VIEW:
                raise InputError(
                    f"layout {self.name}: in a picture of {width}x{height} the {name} view is only {view.w}x{view.h} "
                    f"pixels; give larger pictures"
                )
        return views


DASHGAZE = (
    Layout(
        "dashgaze",
        3008,
        1080,
        {"driver": View(6, 7, 950, 1068), "road": View(962, 6, 955, 1071), "camera": View(1920, 6, 1082, 1071)},
    ),
    # The older export: the same picture without the camera view on the right.
    Layout("dashgaze", 1920, 1080, {"driver": View(6, 7, 950, 1068), "road": View(962, 6, 955, 1071)}),
)
NAMES = ("dashgaze", "driver")


def views_for(layout: str | Path, width: int, height: int, video: str = "video") -> dict[str, View]:
    """The views of a video of ``width`` × ``height``: name → rectangle.

    ``layout`` is ``dashgaze`` (three or two views, told apart by the size), ``driver`` (the whole picture is
    the driver view) or the path of a layout file (:func:`read`). Raises :class:`InputError` when the layout is
    unknown or the size fits none of its variants.
    """
    if str(layout) == "driver":
        return {"driver": View(0, 0, width, height)}
    candidates = variants(layout)
    for candidate in candidates:
        if candidate.fits(width, height):
            return candidate.scaled_to(width, height)
    sizes = " or ".join(f"{candidate.width}x{candidate.height}" for candidate in candidates)
    raise InputError(
        f"{video}: {width}x{height} pixels fit no variant of layout {layout} ({sizes}, or the same proportions "
        f"scaled); give a layout file, or layout=driver when the whole picture is the driver"
    )


def variants(layout: str | Path) -> tuple[Layout, ...]:
    """The variants of a layout that was asked for, as in :func:`views_for`; none for ``driver``, which has no size."""
    if str(layout) == "driver":
        return ()
    return DASHGAZE if str(layout) == "dashgaze" else (read(Path(layout)),)


def origins(used: Layout) -> tuple[Layout, ...]:
    """What a model may be given that was trained on pictures cut out by ``used`` (rectangles at one video's size).

    Both DashGaze exports for a DashGaze recording, nothing where the whole picture was the driver, else ``used``.
    """
    size = used.width, used.height
    if used.views["driver"] == View(0, 0, *size):
        return ()
    is_dashgaze = any(one.fits(*size) and one.scaled_to(*size) == used.views for one in DASHGAZE)
    return DASHGAZE if is_dashgaze else (used,)


def read(path: Path) -> Layout:
    """A layout from a YAML or JSON file ``{width, height, views: {driver: {x, y, w, h}, …}}``.

    Raises :class:`InputError` naming the file and the field that is missing, unknown or out of range.
    """
    if not path.is_file():
        raise InputError(
            f"layout {str(path)!r} is neither {' nor '.join(NAMES)} nor a file; choose one or give a layout file"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        fields = files.parse_json(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"layout file {path}: cannot be read as YAML or JSON ({reason}); mend it") from None
    return parse(fields, str(path))


def parse(fields: Any, name: str) -> Layout:
    """A layout from the decoded content of a layout file; ``name`` is what messages call it."""
    top = _mapping(fields, name, "the file", required=("width", "height", "views"))
    width, height = (_pixels(top[key], name, key, least=1) for key in ("width", "height"))
    rectangles = _mapping(top["views"], name, "views", required=("driver",), optional=VIEWS)
    views = {}
    for view in (view for view in VIEWS if view in rectangles):
        sides = _mapping(rectangles[view], name, f"views.{view}", required=("x", "y", "w", "h"))
        least = {"x": 0, "y": 0, "w": 1, "h": 1}
        sides = {side: _pixels(sides[side], name, f"views.{view}.{side}", least[side]) for side in least}
        if sides["x"] + sides["w"] > width or sides["y"] + sides["h"] > height:
            raise InputError(f"layout file {name}: views.{view} reaches outside {width}x{height}; make it smaller")
        views[view] = View(**sides)
    return Layout(name, width, height, views)


def _mapping(
    value: Any, name: str, where: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"layout file {name}: {where} must be a mapping with {', '.join(required)}")
    missing = [key for key in required if key not in value]
    unknown = [str(key) for key in value if key not in (*required, *optional)]
    if missing or unknown:
        problem = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        legal = ", ".join(dict.fromkeys((*required, *optional)))
        raise InputError(f"layout file {name}: {where} {problem}; it takes {legal}")
    return value


def _pixels(value: Any, name: str, where: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"layout file {name}: {where} is {value!r}, not a whole number of at least {least}")
    return value
