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
_NOT_ZERO = re.compile(rb"[^\x00]")
_UNIT = re.compile(rb"\x00\x00\x01")
"""What goes before each unit where a track is a stream of bytes (Annex B of both standards), as in MPEG-TS and AVI."""
_PICTURE = b"\x00\x00\x01\xb6"
"""Start code of a picture in MPEG-4 part 2."""


def check_for(codec: str, header: bytes | None) -> Check:
    """Whether a packet holds only bytes that its ``codec`` allows; ``header``: the track's own (extradata)."""
    width = length_bytes(codec, header)
    if width:
        return lambda packet: _units_are_legal(memoryview(packet), width)
    if codec in ("h264", "hevc") and is_stream(header):
        return lambda packet: _stream_is_legal(memoryview(packet), codec)
    if codec == "mpeg4":
        return lambda packet: _TRIPLE not in bytes(packet).partition(_PICTURE)[2].rstrip(b"\x00")
    return lambda _: True


def start_for(codec: str, header: bytes | None) -> Check:
    """Whether decoding can start with a packet that its container calls a key frame.

    H.264 with periodic intra refresh has none but the first: what is called so is where a picture begins to become
    whole, column by column, and a decoder that starts there shows smears until it is.
    """
    width = length_bytes(codec, header)
    if codec == "h264" and (width or is_stream(header)):
        return lambda packet: all(_is_intra(unit) for unit in units(memoryview(packet), width))
    return lambda _: True


def shows(codec: str, kind: int) -> bool:
    """Whether a unit of H.264 or H.265 that begins with the byte ``kind`` holds a part of a picture."""
    return kind & 31 in (1, 2, 3, 4, 5) if codec == "h264" else kind >> 1 < 32


def is_setting(codec: str, unit: bytes) -> bool:
    """Whether a unit of H.264 or H.265 says how pictures are decoded (parameter sets)."""
    return unit[0] & 31 in (7, 8) if codec == "h264" else unit[0] >> 1 in (32, 33, 34)


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


def is_stream(header: bytes | None) -> bool:
    """Whether the units of a track of H.264 or H.265 with that ``header`` stand behind start codes."""
    return not header or header.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01"))


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


def _stream_is_legal(packet: memoryview, codec: str) -> bool:
    """Whether the units of pictures in a stream of bytes hold neither zeros nor a start of nothing."""
    at, inside = 0, False
    while found := _START_CODE.search(packet, at):
        more = _NOT_ZERO.search(packet, found.start())
        if more is None:
            return True  # zeros behind the last unit are padding
        if inside and packet[more.start()] != 1:
            return False
        at = more.end()
        inside = at < len(packet) and packet[at - 1] == 1 and shows(codec, packet[at])
    return True


def units(packet: memoryview, width: int) -> Iterator[bytes]:
    """The units of a packet that are stored by length, or behind start codes (``width`` 0)."""
    if not width:
        starts = list(_UNIT.finditer(packet))
        ends = [*(start.start() for start in starts[1:]), len(packet)]
        split = (bytes(packet[start.end() : end]).rstrip(b"\x00") for start, end in zip(starts, ends, strict=True))
        yield from filter(None, split)
        return
    at = 0
    while at + width <= len(packet):
        start = at + width
        at = start + int.from_bytes(packet[at:start], "big")
        if at > start:
            yield bytes(packet[start:at])
