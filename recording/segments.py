"""The segments of a JPEG before its data (ITU-T T.81, B.1.1.4): tables, sizes, and what programs write between them."""

from collections.abc import Iterator
from dataclasses import dataclass

DQT, DRI, SOS = 0xDB, 0xDD, 0xDA
BASELINE, SEQUENTIAL, PROGRESSIVE = 0xC0, 0xC1, 0xC2


def headers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """``(marker, start, end)`` of every segment up to the first scan: its body is ``data[start:end]``."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != SOS:
        if data[at + 1] == 0xFF:  # any number of these may stand before a marker (B.1.1.2)
            at += 1
            continue
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
    quanta: tuple[float, ...] = ()
    """Of each component, in steps of how many levels the mean of 8×8 pixels is coded; () where it is not told."""


def blocks(data: bytes) -> Blocks | None:
    """The blocks of a JPEG; None where its header does not tell."""
    size, restart, tables, used = None, 0, dict[int, int](), list[int]()
    for marker, start, end in headers(data):
        if end > len(data):
            break
        if marker == DRI:
            restart = int.from_bytes(data[start : start + 2])
        elif marker == DQT:
            tables |= _first_entries(data[start:end])
        elif marker in (BASELINE, SEQUENTIAL, PROGRESSIVE) and end - start >= 6 + 3 * data[start + 5]:
            components, sampling = data[start + 5], data[start + 7]
            size = (8, 8) if components == 1 else (8 * (sampling >> 4), 8 * (sampling & 15))
            used = [data[start + 8 + 3 * one] for one in range(components)]
    if not size or not all(size):
        return None
    return Blocks(*size, restart, tuple(tables[one] / 8 for one in used) if all(one in tables for one in used) else ())


def _first_entries(tables: bytes) -> dict[int, int]:
    """The quantiser of the mean in each table of a DQT segment, by the table's number (B.2.4.1)."""
    found, at = dict[int, int](), 0
    while at + 3 <= len(tables):
        wide = bool(tables[at] >> 4)
        found[tables[at] & 15] = int.from_bytes(tables[at + 1 : at + 2 + wide])
        at += 1 + 64 * (1 + wide)
    return found
