"""Bytes that no encoder writes: what a packet shows of its damage before it is decoded.

Decoders conceal damage, and some of it they do not see at all: zeroed bytes are valid symbols to an arithmetic
decoder. But H.264, H.265 and MPEG-4 part 2 forbid certain bytes inside a picture, so that start codes stand out
(emulation prevention: ITU-T H.264, 7.4.1; ISO/IEC 14496-2, 5.2.3). Looking for them costs a search through memory.
"""

from collections.abc import Callable
from typing import Any

import av

Check = Callable[["av.Packet[Any]"], bool]
_PAIR, _TRIPLE = b"\x00\x00", b"\x00\x00\x00"
_ESCAPE = 3
"""What follows two zero bytes inside a unit, unless it is larger; 0, 1 and 2 are kept for start codes."""
_PICTURE = b"\x00\x00\x01\xb6"
"""Start code of a picture in MPEG-4 part 2."""


def check_for(codec: str, header: bytes | None) -> Check:
    """Whether a packet holds only bytes that its ``codec`` allows; ``header``: the track's own (extradata)."""
    width = _length_bytes(codec, header)
    if width:
        return lambda packet: _units_are_legal(bytes(packet), width)
    if codec == "mpeg4":
        return lambda packet: _TRIPLE not in bytes(packet).partition(_PICTURE)[2].rstrip(b"\x00")
    return lambda _: True


def _length_bytes(codec: str, header: bytes | None) -> int:
    """How many bytes give a unit's length, 0 where units are not stored by length (ISO/IEC 14496-15, 5.3.3, 8.3.3)."""
    place = {"h264": 4, "hevc": 21}.get(codec)
    if place is None or header is None or len(header) <= place or header[0] != 1:
        return 0
    return (header[place] & 3) + 1


def _units_are_legal(packet: bytes, width: int) -> bool:
    """Whether the units fill the packet, padding aside, and hold no start code."""
    at = 0
    while at + width <= len(packet):
        start = at + width
        at = start + int.from_bytes(packet[at:start], "big")
        if at > len(packet) or not _is_legal(packet, start, at):
            return False
    return not packet[at:].strip(b"\x00")


def _is_legal(packet: bytes, start: int, end: int) -> bool:
    found = packet.find(_PAIR, start, end)
    while found >= 0:
        following = packet[found + 2 : min(found + 3, end)]
        if following and following[0] < _ESCAPE and packet[found:end].strip(b"\x00"):
            return False
        found = packet.find(_PAIR, found + 2, end)
    return True
