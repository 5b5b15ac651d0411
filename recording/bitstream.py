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
_PARAMETERS = 34
"""Unit type of an H.265 picture parameter set."""
_PICTURE = b"\x00\x00\x01\xb6"
"""Start code of a picture in MPEG-4 part 2."""


def check_for(codec: str, header: bytes | None) -> Check:
    """Whether a packet holds only bytes that its ``codec`` allows; ``header``: the track's own (extradata)."""
    width = _length_bytes(codec, header)
    if width:
        return lambda packet: _units_are_legal(memoryview(packet), width)
    if codec == "mpeg4":
        return lambda packet: _TRIPLE not in bytes(packet).partition(_PICTURE)[2].rstrip(b"\x00")
    return lambda _: True


def _length_bytes(codec: str, header: bytes | None) -> int:
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


def has_entry_points(header: bytes | None) -> bool:
    """Whether an H.265 track says where in a packet each row of blocks begins (wavefronts; ITU-T H.265, 7.3.2.3).

    ``header``: the track's own (hvcC; ISO/IEC 14496-15, 8.3.3.1).
    """
    return any(_has_wavefronts(unit) for unit in _header_units(header or b"") if unit[0] >> 1 == _PARAMETERS)


def _header_units(header: bytes) -> Iterator[bytes]:
    arrays, at = (header[22] if len(header) > 22 and header[0] == 1 else 0), 23
    for _ in range(arrays):
        count, at = int.from_bytes(header[at + 1 : at + 3]), at + 3
        for _ in range(count):
            length, at = int.from_bytes(header[at : at + 2]), at + 2
            if length > 2:
                yield header[at : at + length]
            at += length


def _has_wavefronts(unit: bytes) -> bool:
    """entropy_coding_sync_enabled_flag of a picture parameter set."""
    bits = "".join(f"{byte:08b}" for byte in unit[2:].replace(b"\x00\x00\x03", b"\x00\x00"))
    at = 0

    def skip_number() -> None:
        nonlocal at
        zeros = len(bits[at:]) - len(bits[at:].lstrip("0"))
        at += 2 * zeros + 1

    skip_number()  # its own number
    skip_number()  # that of its sequence
    at += 7  # flags up to cabac_init_present_flag
    for _ in range(3):
        skip_number()  # num_ref_idx_l0, num_ref_idx_l1, init_qp
    at += 2
    has_depth = bits[at : at + 1] == "1"
    at += 1
    for _ in range(3 if has_depth else 2):
        skip_number()  # diff_cu_qp_delta_depth, cb_qp_offset, cr_qp_offset
    at += 5  # slice chroma offsets, weighted predictions, transquant bypass, tiles
    return bits[at : at + 1] == "1"
