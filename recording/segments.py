"""The segments of a JPEG before its data (ITU-T T.81, B.1.1.4): tables, sizes, and what programs write between them."""

from collections.abc import Iterator
from dataclasses import dataclass

DQT, DRI, SOS = 0xDB, 0xDD, 0xDA
BASELINE, SEQUENTIAL, PROGRESSIVE = 0xC0, 0xC1, 0xC2


def headers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """``(marker, start, end)`` of every segment up to the first scan: its body is ``data[start:end]``."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != SOS:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        yield data[at + 1], at + 4, end
        at = end


@dataclass(frozen=True)
class Blocks:
    """What a JPEG codes at a time (its MCU), and after how many of them it begins anew."""

    width: int
    """Pixels, as ``height``."""
    height: int
    restart: int = 0
    """Restart interval in blocks; 0: never."""


def blocks(data: bytes) -> Blocks | None:
    """The blocks of a JPEG; None where its header does not tell."""
    size, restart = None, 0
    for marker, start, end in headers(data):
        if marker == DRI:
            restart = int.from_bytes(data[start : start + 2])
        elif marker in (BASELINE, SEQUENTIAL, PROGRESSIVE) and end - start >= 9 and end <= len(data):
            components, sampling = data[start + 5], data[start + 7]
            size = (8, 8) if components == 1 else (8 * (sampling >> 4), 8 * (sampling & 15))
    return Blocks(*size, restart) if size and all(size) else None
