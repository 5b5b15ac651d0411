"""What the files of one sample are called: ``frame_01234_driver.jpg``, ``_road.jpg``, ``_camera.jpg``, ``_gt.json``.

So they are written. Pictures that others made are read with any ending of :data:`recording.pictures.SUFFIXES`, in
capitals or not.
"""

from pathlib import Path, PurePath

from recording.pictures import SUFFIXES

DRIVER, TRUTH = "_driver.jpg", "_gt.json"
"""Endings of the picture that every sample has, and of its measured angles."""


def stem(frame: int) -> str:
    """What the names of a sample's files begin with."""
    return f"frame_{frame:05d}"


def picture(stem: str, view: str) -> str:
    """Name of the picture of one view: ``driver``, ``road``, ``camera``."""
    return f"{stem}_{view}.jpg"


def truth(stem: str) -> str:
    """Name of the file with the measured angles."""
    return f"{stem}{TRUTH}"


def is_picture(name: str, view: str = "driver") -> bool:
    """Whether a file is, by its name, a sample's picture of one view."""
    path = PurePath(name)
    return path.suffix.lower() in SUFFIXES and path.stem.lower().endswith(f"_{view}")


def stem_of(picture: str, view: str = "driver") -> str:
    """What a sample's names begin with, from that of its picture of one view."""
    return PurePath(picture).stem[: -len(view) - 1]


def pictures(folder: Path, view: str = "driver") -> dict[str, list[Path]]:
    """The pictures of one view in a folder, by what a sample's names begin with, sorted.

    A sample may have its picture in several formats: the first is the one to be read.
    """
    found: dict[str, list[Path]] = {}
    named = [path for path in folder.iterdir() if is_picture(path.name, view)]
    for path in sorted(named, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path.name)):
        found.setdefault(stem_of(path.name, view), []).append(path)
    return dict(sorted(found.items()))
