"""What the files of one sample are called: ``frame_01234_driver.jpg``, ``_road.jpg``, ``_camera.jpg``, ``_gt.json``."""

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


def stem_of(driver_picture: str) -> str:
    """What a sample's names begin with, from that of its driver picture."""
    return driver_picture.removesuffix(DRIVER)
