"""Encoded pictures, JPEG and PNG: the one reader of the project, which takes nothing damaged for a picture.

The usual decoders conceal damage: half a JPEG comes out with a grey half. Here a picture is read whole and as its
writer made it, or refused:

* JPEG by libjpeg-turbo (simplejpeg), where every warning counts, and a step in brightness from one block on
  (:mod:`recording.stairs`). The pixels are those of OpenCV's JPEG reader.
* PNG by OpenCV, after the checksum of every chunk was compared.
* It comes out the way up that it is to be shown (EXIF orientation).

What follows behind the end of a JPEG, such as the film of a motion photo, does not matter.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from recording import overshoot, segments, stairs
from recording.exceptions import InputError
from recording.scans import Scans

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
MAX_PIXELS = 50_000_000
# At quality 95 with half the colours, networks answer 0.15 degrees off what they answer to a grainy video's own pixels.
_NEARLY_EXACT = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
_BLOCK = 8  # a JPEG's, where it keeps all its colours
# The first JPEG changes more than this many times what a second one does: 1.87 to 4.9 times (photographs as they are,
# with noise, blurred; rendered drives). Of what was one already it is 1.37 to 1.84 times.
_FIRST_TIME = 1.855
_FOR_PEOPLE = [cv2.IMWRITE_JPEG_QUALITY, 90]
MAX_SCANS = 100
"""A progressive JPEG may repeat its scans thousands of times at a few bytes each; cameras write about ten."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# A JPEG's next marker: neither a stuffed 0xFF (00) nor a restart, which belong to the picture's data.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_EOI, _SOS, _DHT, _APP1, _BASELINE, _SEQUENTIAL, _PROGRESSIVE = 0xD9, 0xDA, 0xC4, 0xE1, 0xC0, 0xC1, 0xC2
_FRAMES = (_BASELINE, _SEQUENTIAL, _PROGRESSIVE, 0xC3)
_EXIF = b"Exif\0\0"
_ZEROS = bytes(24)  # more bits than the longest block of one shortest code
_BYTE_ORDER: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_ORIENTATION = 0x0112
_TYPE_BYTES = {
    1: 1,
    3: 2,
    4: 4,
}  # the number should be of 16 bits, and some programs write others (TIFF 6.0, section 2)
_OTHERS = {
    b"\x1f\x8b": "gzip",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP or AVI",
    b"%PDF": "PDF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"<": "text",
    b"version https://git-lfs": "the pointer of Git LFS",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\1\0": "an icon",
    b"8BPS": "Photoshop",
    b"\x1aE\xdf\xa3": "a Matroska or WebM video",
    b"/9j/": "base64",
    b"iVBORw0KGgo": "base64",
    b"data:": "a data URI",
    b"http://": "an address",
    b"https://": "an address",
}
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_USUAL_GAMMA = (0.4, 0.53)  # of the gAMA chunk: 1/2.5 to BT.709's, no more than a few grey levels off sRGB
# Transfers of cICP (ITU-T H.273) within that range: BT.709 and its like, gamma 2.2, SMPTE 240M, xvYCC, BT.1361, sRGB.
_USUAL_TRANSFERS = {1, 4, 6, 7, 11, 12, 13, 14, 15}
_UNSPECIFIED = 2
_TRANSFERS = {
    5: "gamma 2.8",
    8: "values in proportion to light",
    9: "logarithmic",
    10: "logarithmic",
    16: "PQ, high dynamic range",
    17: "gamma 2.6",
    18: "HLG, high dynamic range",
}
_NEARLY_ALL = 0.95
_BLACK_LEVEL = 1 << 11  # what sensors answer in the dark, at most
# EXIF orientation: mirrored first, then so many quarter turns to the left.
_UPRIGHT = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}

Picture = npt.NDArray[np.uint8]


def decode(data: bytes, name: str = "image", *, max_pixels: int = MAX_PIXELS) -> Picture:
    """JPEG or PNG bytes → (h, w, 3) uint8 RGB, upright; ``name`` stands for the picture in messages.

    Pixels and scans are counted before anything is decoded. Raises :class:`InputError` when the bytes are neither,
    hold more than ``max_pixels``, are damaged, or leave open what their numbers mean.
    """
    width, height = encoded_size(data, name)
    if width * height > max_pixels:
        raise InputError(f"{name}: {width}x{height} pixels is over the limit of {max_pixels}; send a smaller picture")
    picture, exif = _decode_png(data, name) if data.startswith(_PNG) else _decode_jpeg(data, name)
    mirrored, turns = _UPRIGHT.get(_orientation(exif, name), (False, 0))
    return np.ascontiguousarray(np.rot90(np.fliplr(picture) if mirrored else picture, turns))


def encode(picture: npt.NDArray[Any], *, for_people: bool = False) -> bytes:
    """(h, w, 3) uint8 BGR → JPEG bytes: the one writer of pictures.

    What networks will see keeps all its colours, at quality 98; pictures ``for_people`` alone are of quality 90 with
    half the colours, a third of the bytes.
    """
    done, encoded = cv2.imencode(".jpg", picture, _FOR_PEOPLE if for_people else _NEARLY_EXACT)
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} cannot be encoded as JPEG")
    return encoded.tobytes()


def is_lossless(data: bytes) -> bool:
    """Whether encoded bytes, JPEG or PNG, are the very pixels that were saved."""
    return data.startswith(_PNG)


def as_kept(part: Picture, view: Picture, *, maybe_before: bool = False) -> Picture:
    """A part of a driver view as it comes out of the JPEG that ``prepare`` keeps of the whole: (h, w, 3) uint8 RGB.

    ``part``: a view into the memory of ``view``, which is uint8 RGB. Blocks of a JPEG do not depend on each other where
    it keeps all colours, so that only those which the part lies in are encoded. ``maybe_before``: it may have come out
    of such a JPEG already; where it seems so it is given as it is.
    """
    rows, columns = _place(part, view)
    top, left = rows.start // _BLOCK * _BLOCK, columns.start // _BLOCK * _BLOCK
    blocks = view[top : -(-rows.stop // _BLOCK) * _BLOCK, left : -(-columns.stop // _BLOCK) * _BLOCK]
    kept = _kept(blocks)
    if maybe_before and _apart(kept, blocks) < _FIRST_TIME * _apart(_kept(kept), kept):
        return part
    return kept[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _kept(picture: Picture) -> Picture:
    """(h, w, 3) uint8 RGB, through the JPEG of what networks will see."""
    kept: Picture = simplejpeg.decode_jpeg(encode(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)), "RGB")
    return kept


def _apart(one: Picture, other: Picture) -> float:
    """By how many grey levels two pictures differ, root mean square."""
    return float(np.sqrt(np.mean(cv2.absdiff(one, other).astype(np.float32) ** 2)))


def _place(part: Picture, view: Picture) -> tuple[slice, slice]:
    """Rows and columns of a view into the memory of another picture."""
    (first, _), (origin, _) = np.lib.array_utils.byte_bounds(part), np.lib.array_utils.byte_bounds(view)
    row, rest = divmod(first - origin, view.strides[0])
    column = rest // view.strides[1]
    return slice(row, row + part.shape[0]), slice(column, column + part.shape[1])


def encoded_size(data: bytes, name: str = "image") -> tuple[int, int]:
    """(width, height) as stored, from the header of JPEG or PNG bytes, without decoding; :class:`InputError` otherwise.

    Where a picture is stored lying (EXIF orientation 5 to 8) it comes out of :func:`decode` the other way round.
    """
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if not data.startswith(_JPEG):
        raise InputError(f"{name}: neither JPEG nor PNG{_looks_like(data)}; send one of these")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise _damaged(name, f"its header: {error}") from None
    return width, height


def _looks_like(data: bytes) -> str:
    if not data:
        return " but empty"
    if data[4:8] == b"ftyp":
        return " but HEIC, AVIF or a video"
    return next((f" but {kind}" for start, kind in _OTHERS.items() if data.startswith(start)), "")


def _damaged(name: str, how: str) -> InputError:
    return InputError(f"{name}: damaged JPEG or PNG ({how}); save or copy the picture again")


def _orientation(exif: bytes, name: str) -> int:
    """The orientation in an EXIF block (TIFF 6.0, section 2), 1 (upright) where it says nothing."""
    if not exif:
        return 1
    order = _BYTE_ORDER.get(exif[:4], "little")
    at = int.from_bytes(exif[4:8], order) + 2
    end = at + 12 * int.from_bytes(exif[at - 2 : at], order)
    if exif[:4] not in _BYTE_ORDER or end > len(exif):
        raise _damaged(name, "its EXIF block, which says which way up it is shown")
    for field in (exif[k : k + 12] for k in range(at, end, 12)):
        if int.from_bytes(field[:2], order) == _ORIENTATION:
            return int.from_bytes(field[8 : 8 + _TYPE_BYTES.get(int.from_bytes(field[2:4], order), 2)], order)
    return 1


def _decode_jpeg(data: bytes, name: str) -> tuple[Picture, bytes]:
    """The pixels as stored and the EXIF block."""
    if simplejpeg.decode_jpeg_header(data)[2] in ("CMYK", "YCCK"):
        raise InputError(f"{name}: a JPEG in print colours (CMYK); save it in RGB")
    exif = _walk(data, name)
    try:
        picture: Picture = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        raise _damaged(name, str(error)) from None
    if stairs.has_stair(picture, segments.blocks(data)):
        raise _damaged(name, "from one block on it is brighter or darker")
    return picture, exif


def is_sound_jpeg(data: bytes) -> bool:
    """Whether libjpeg-turbo, the search for zeros and the range of its brightness find nothing wrong with a JPEG."""
    try:
        _walk(data, "")
    except InputError:
        return False
    return overshoot.is_decodable(data)


def _walk(data: bytes, name: str) -> bytes:
    """A JPEG's EXIF block. On the way its scans are counted, none may be missing or overwritten with zeros.

    Zeros are what lost packets and sparse files leave, and they are valid Huffman codes, so that no decoder minds.
    Where they do not spell "end of block" they make coefficients of −1 in all 63 places of a block after the other,
    which no picture has. (In a progressive JPEG, and where they do spell it, they may be a plain surface.)
    """
    scans, at, exif, sequential, suspicious = 0, 2, b"", False, False
    zeros_mean: dict[int, int] = {}
    said = Scans()
    while marker := _MARKER.search(data, at):
        kind, start = marker[1][0], marker.end()
        if suspicious and (zeros := data.find(_ZEROS, at, marker.start())) >= 0:
            raise _damaged(name, f"zeros in place of the picture from byte {zeros} on")
        if kind == _EOI:
            break
        at = start + int.from_bytes(data[start : start + 2])
        body = data[start + 2 : at]
        if kind in _FRAMES and body[:1] in (b"\x0c", b"\x10"):
            raise InputError(f"{name}: a JPEG with {body[0]} bits a colour; save it with 8")
        if kind in _FRAMES and len(body) > 5:
            sequential = kind in (_BASELINE, _SEQUENTIAL)
            said.frame(body, progressive=kind == _PROGRESSIVE)
        elif kind == _DHT:
            zeros_mean |= _first_symbols(body)
        elif kind == _APP1 and body.startswith(_EXIF) and not exif:
            exif = body.removeprefix(_EXIF)
        elif kind == _SOS:
            scans += 1
            said.scan(body)
            suspicious = sequential and any(zeros_mean.get(table) for table in _ac_tables(body))
        if scans > MAX_SCANS:
            raise InputError(f"{name}: a JPEG of more than {MAX_SCANS} scans is not decoded; save the picture again")
    if not said.complete:
        raise _damaged(name, "it ends before its last scan")
    return exif


def _ac_tables(scan: bytes) -> list[int]:
    """The AC tables of the components of a scan, from the content of its header (ITU-T T.81, B.2.3)."""
    return [table & 15 for table in scan[2 : 1 + 2 * scan[0] : 2]] if scan else []


def _first_symbols(tables: bytes) -> dict[int, int]:
    """What a code of zeros alone means in each AC table of a DHT segment; 0 is "end of block" (ITU-T T.81, B.2.4.2)."""
    found: dict[int, int] = {}
    at = 0
    while at + 17 < len(tables):
        kind, symbols = tables[at], sum(tables[at + 1 : at + 17])
        if kind >> 4:
            found[kind & 15] = tables[at + 17]
        at += 17 + symbols
    return found


def _decode_png(data: bytes, name: str) -> tuple[Picture, bytes]:
    """The pixels as stored and the EXIF block."""
    chunks = dict(_chunks(data, name))
    exif = chunks.get(b"eXIf", b"").removeprefix(_EXIF)  # some writers begin it as in a JPEG
    transfer = _transfer(chunks.get(b"cICP", b""))
    if transfer is not None and transfer not in _USUAL_TRANSFERS:
        kind = f" ({_TRANSFERS[transfer]})" if transfer in _TRANSFERS else ""
        raise InputError(
            f"{name}: a PNG whose transfer is {transfer}{kind}, and not that of sRGB (13); save it as sRGB"
        )
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")) / 100_000
    # What says more goes before it (PNG specification, section 4.3), and 0 says nothing.
    says_more = transfer is not None or chunks.keys() & {b"iCCP", b"sRGB"}
    if gamma and not _USUAL_GAMMA[0] <= gamma <= _USUAL_GAMMA[1] and not says_more:
        kind = " (values in proportion to light)" if gamma == 1 else ""
        raise InputError(f"{name}: a PNG whose gamma is {gamma:g}{kind}, and not about 0.45455; save it as sRGB")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED)
    except cv2.error:  # its own limits, such as an allocation that is too large
        picture = None
    if picture is None:
        raise _damaged(name, "it does not decode")
    return _in_8_bits(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), name), exif


def _transfer(code_points: bytes) -> int | None:
    """The transfer that the content of a cICP chunk says, None where it says none."""
    return code_points[1] if len(code_points) == 4 and code_points[1] != _UNSPECIFIED else None


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, kind and content, each with its checksum compared."""
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(data):
            raise _damaged(name, "it is cut off")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise _damaged(name, f"the checksum of its part {kind.decode('latin-1')!r} at byte {at} is wrong")
        yield kind, data[at + 8 : end]
        at = end + 4


def _in_8_bits(picture: npt.NDArray[Any], name: str) -> Picture:
    """The upper 8 of 16 bits. Refused where nearly all of it lies in the lowest quarter of the range, as the 10, 12 or
    14 bits of a camera do that were not spread, unless its values show that they were.
    """
    if picture.dtype == np.uint8:
        return picture
    one_by_one = [cv2.calcHist([picture], [colour], None, [1 << 16], [0, 1 << 16]).ravel() for colour in range(3)]
    counts = np.sum(one_by_one, axis=0)
    levels = np.flatnonzero(counts)
    # What stands in a picture beside its content is bright: a text, mostly of one value, or a pixel that is broken.
    shares = np.cumsum(counts[levels][:-1] if len(levels) > 1 else counts[levels], dtype=np.float64)
    low, high = (int(levels[np.searchsorted(shares, share * shares[-1])]) for share in (1 - _NEARLY_ALL, _NEARLY_ALL))
    if _fits(low, high, 14) and not _spread(levels, low, high):
        raise InputError(
            f"{name}: a 16-bit PNG, and {_NEARLY_ALL:.0%} of its values are not over {high} of 65535, as if it held "
            f"{min(high.bit_length(), 14)} bits only (or a very dark picture); spread them over 16 bits, or save the "
            "picture with 8 bits"
        )
    return (picture >> 8).astype(np.uint8)


def _fits(low: int, high: int, bits: int) -> bool:
    """Whether a picture, nearly all of which lies from ``low`` to ``high``, may hold so many bits and a black level."""
    return high < (1 << bits) + min(low, _BLACK_LEVEL)


def _spread(levels: npt.NDArray[np.intp], low: int, high: int) -> bool:
    """Whether the values of a dark picture, ascending, are those of fewer bits that were spread over 16.

    8 bits times 257 or 256 leave values that nothing else does. 12 bits times 16 are told from 14 bits, and not from 8
    bits that stand in 12: where all lie so low, and for 10 bits times 64, and 14 times 4, it stays open. 10 and 12 bits
    times 65535/1023 and 65535/4095 (the upper bits repeated below) are told above that.
    """
    if not (levels % 257).any() or not (levels % 256).any():
        return True
    if _fits(low, high, 12):
        return False
    dark = levels[levels <= high]
    if not (dark % 16).any() and (dark % 64).any():
        return True
    for most in (1023, 4095):
        step = 65535 / most
        if (np.abs(levels - np.rint(levels / step) * step) <= 1).all():
            return True
    return False
