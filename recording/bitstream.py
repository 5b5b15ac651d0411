"""Bytes that no encoder writes: what a packet shows of its damage before it is decoded.

Decoders conceal damage, and some of it they do not see at all: zeroed bytes are valid symbols to an arithmetic
decoder. But H.264, H.265 and MPEG-4 part 2 forbid certain bytes inside a picture, so that start codes stand out
(emulation prevention: ITU-T H.264, 7.4.1; ISO/IEC 14496-2, 5.2.3). Looking for them costs a search through memory.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import av

Check = Callable[["av.Packet[Any]"], bool]
_TRIPLE = b"\x00\x00\x00"
_START_CODE = re.compile(rb"\x00\x00[\x00-\x02]")
"""Inside a unit two zero bytes are followed by more than this."""
_PICTURE = b"\x00\x00\x01\xb6"
"""Start code of a picture in MPEG-4 part 2."""


def check_for(codec: str, header: bytes | None) -> Check:
    """Whether a packet holds only bytes that its ``codec`` allows; ``header``: the track's own (extradata)."""
    width = length_bytes(codec, header)
    if width:
        return lambda packet: _units_are_legal(memoryview(packet), width)
    if codec == "mpeg4":
        return lambda packet: _TRIPLE not in bytes(packet).partition(_PICTURE)[2].rstrip(b"\x00")
    return lambda _: True


def start_for(codec: str, header: bytes | None) -> Check:
    """Whether decoding can start with a packet that its container calls a key frame.

    H.264 with periodic intra refresh has none but the first: what is called so is where a picture begins to become
    whole, column by column, and a decoder that starts there shows smears until it is.
    """
    width = length_bytes(codec, header) if codec == "h264" else 0
    if width:
        return lambda packet: all(_is_intra(unit) for unit in units(memoryview(packet), width))
    return lambda _: True


def _is_intra(unit: bytes) -> bool:
    """Of an H.264 unit: whether it is no slice that refers to other pictures (ITU-T H.264, 7.3.1, 7.3.3, table 7-6)."""
    if unit[0] & 31 != 1:  # not a slice, or one of an IDR picture
        return True
    start = unit[1:17].replace(b"\x00\x00\x03", b"\x00\x00")
    bits = f"{int.from_bytes(start, 'big'):0{8 * len(start)}b}"
    _, bits = _exp_golomb(bits)  # first_mb_in_slice
    kind, _ = _exp_golomb(bits)
    return kind % 5 in (2, 4)


def _exp_golomb(bits: str) -> tuple[int, str]:
    """An unsigned number (ITU-T H.264, 9.1) and the bits behind it."""
    zeros = len(bits) - len(bits.lstrip("0"))
    end = 2 * zeros + 1
    return int(bits[zeros:end] or "1", 2) - 1, bits[end:]


def length_bytes(codec: str, header: bytes | None) -> int:
    """How many bytes give a unit's length, 0 where units are not stored by length (ISO/IEC 14496-15, 5.3.3, 8.3.3)."""
    place = {"h264": 4, "hevc": 21}.get(codec)
    if place is None or header is None or len(header) <= place or header[0] != 1:
        return 0
    return (header[place] & 3) + 1


def _units_are_legal(packet: memoryview, width: int) -> bool:
    """Whether the units fill the packet, padding aside, and hold no start code."""
    at = 0
    while at + width <= len(packet):
        start = at + width
        at = start + int.from_bytes(packet[at:start], "big")
        if at > len(packet):
            return False
        found = _START_CODE.search(packet, start, at)
        if found and bytes(packet[found.start() : at]).strip(b"\x00"):
            return False
    return not bytes(packet[at:]).strip(b"\x00")


def units(packet: memoryview, width: int) -> Iterator[bytes]:
    """The units of a packet that are stored by length."""
    at = 0
    while at + width <= len(packet):
        start = at + width
        at = start + int.from_bytes(packet[at:start], "big")
        if at > start:
            yield bytes(packet[start:at])
