"""Whether the data of an H.264 or H.265 picture ends where its decoder does: damage that FFmpeg's do not see.

Their arithmetic decoders make a picture of whatever bytes they get. But they must arrive exactly where the data ends,
and after damage they do not: they need more bytes than there are, or are finished before these are used up. So a
picture is decoded again on its own, with bytes added behind its end, which must change nothing, and with its last
bytes exchanged, which must change something. The pictures it refers to are missing then and grey; what is read from
the bytes does not depend on them (ITU-T H.264, 9.3; H.265, 9.3), and filters at the edges of blocks are left out
because they do. Of H.264 FFmpeg itself sees that bytes are missing, so exchanged bytes that are used show even where
what they paint cannot be seen, as in a black border. It says so of pictures that refer to nothing that is missing;
others are decoded behind the key frame before them, so that it has something in its place.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from recording import bitstream

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

Decode = Callable[[list[bytes]], list[bytes] | None]

_PICTURES = 32  # types of units below this hold a part of a picture
_UNUSED = {0, 2, 4, 6, 8, 10, 12, 14}  # no other picture refers to these (table 7-1)
_AS_TRAILING = {8: 0, 9: 1}  # a decoder that starts here leaves out what is shown before its key frame
_RANDOM = np.random.default_rng(0).integers(4, 256, (64, 6), dtype=np.uint8)  # none begins something
_ADDED = 4
_PADDING = b"\x00\x00\x03"  # words of zeros that a constant bit rate asks for (7.3.2.9)
_START = b"\x00\x00\x00\x01"
_MOST_SETTINGS = 32
_SHORTEST = 40  # a part with less behind its header says nothing
_HEADER = 32  # bytes that the header of a part takes at most, but for rare ones
_SLICES = {1, 5}  # H.264's types of units that hold a part of a picture (ITU-T H.264, table 7-1)


class _Alone:
    """Decodes pictures of one track on their own, each as if there were no other; ``header``: avcC or hvcC, or of a
    stream of bytes (Annex B) what goes before its first picture, if anything."""

    tail = 4
    """So many bytes at the end are exchanged."""

    def __init__(self, codec: str, header: bytes) -> None:
        self._codec, self._header = codec, header
        self._width = bitstream.length_bytes(codec, header)
        self._settings: list[bytes] = []
        self._decoder = self._opened()

    def _opened(self, **options: str) -> Any:
        decoder = av.CodecContext.create(self._codec, "r")
        if self._header:
            decoder.extradata = self._header
        decoder.thread_type, decoder.thread_count = "SLICE", 1  # threads jump to where rows should begin
        shown = {"flags": "output_corrupt", "skip_loop_filter": "all", "apply_cropping": "0"}
        decoder.options = shown | options
        return decoder

    def _units(self, packet: "Packet") -> list[bytes]:
        """The units of a packet, behind the settings that earlier packets gave, where it gives none."""
        units = list(bitstream.units(memoryview(packet), self._width))
        given = [unit for unit in units if bitstream.is_setting(self._codec, unit)]
        if not given:
            return [*self._settings, *units]
        self._settings = [*(old for old in self._settings if old not in given), *given][-_MOST_SETTINGS:]
        return units

    def _says(self, units: list[bytes], part: int, as_it_is: list[bytes], decoded: Decode) -> bool:
        """Whether the last bytes of a part say something of the picture that it decodes to."""
        last = _unpadded(units[part])
        if len(last) < _SHORTEST:
            return True
        tails = _RANDOM[:, : self.tail]
        exchanged = ([*units[:part], last[: -self.tail] + tail.tobytes(), *units[part + 1 :]] for tail in tails)
        return any(decoded(changed) != as_it_is for changed in exchanged)

    def _decoded(self, units: list[bytes], decoder: Any, key: list[bytes] | None = None) -> list[bytes] | None:
        """The planes of the picture alone, or behind a ``key`` frame, and whether it was mended; None where there is
        none."""
        packets = [self._packet(key, 0)] if key else []
        try:
            decoded = [
                picture for packet in (*packets, self._packet(units, 1), None) for picture in decoder.decode(packet)
            ]
        except av.error.FFmpegError:
            decoded = []
        decoder.flush_buffers()
        pictures = [picture for picture in decoded if picture.pts == 1]
        if not pictures:
            return None
        width = 2 if pictures[0].format.components[0].bits > 8 else 1
        mended = b"mended" if pictures[0].is_corrupt else b""
        return [*(_samples(plane, width) for plane in pictures[0].planes), mended]

    def _packet(self, units: list[bytes], time: int) -> "av.Packet[Any]":
        width = self._width
        packet = av.Packet(b"".join((len(unit).to_bytes(width) if width else _START) + unit for unit in units))
        packet.pts = packet.dts = time  # pictures that a decoder makes up for missing ones have none
        return packet


class Endings(_Alone):
    """Looks at the packets of one H.265 track (hvcC: ISO/IEC 14496-15, 8.3.3.1)."""

    def __init__(self, header: bytes = b"") -> None:
        super().__init__("hevc", header)

    def fit(self, packet: "Packet", everything: bool = True) -> bool:
        """Whether every part of the picture ends with its data; ``everything``: also of one that no other refers to."""
        units = self._units(packet)
        parts = [number for number, unit in enumerate(units) if unit[0] >> 1 < _PICTURES]
        if not parts or (not everything and units[parts[0]][0] >> 1 in _UNUSED):
            return True
        kept = [bytes([_AS_TRAILING.get(unit[0] >> 1, unit[0] >> 1) << 1]) + unit[1:] for unit in units]

        def alone(changed: list[bytes]) -> list[bytes] | None:
            return self._decoded(changed, self._decoder)

        as_it_is = alone(kept)
        added = _RANDOM[:_ADDED, : self.tail].tobytes()
        longer = [_unpadded(unit) + added if n in parts else unit for n, unit in enumerate(kept)]
        if as_it_is is None:
            return False
        # Motion in a missing picture is what its memory held before: only of new decoders is it sure to be none.
        if alone(longer) != as_it_is and self._anew(longer) != self._anew(kept):
            return False
        return self._says(kept, parts[-1], as_it_is, alone)

    def _anew(self, units: list[bytes]) -> list[bytes] | None:
        return self._decoded(units, self._opened())


class H264Endings(_Alone):
    """The same for a track of H.264 (avcC: ISO/IEC 14496-15, 5.3.3.1) with arithmetic coding."""

    tail = 6

    def __init__(self, header: bytes = b"") -> None:
        super().__init__("h264", header)
        self._key: list[bytes] | None = None

    def learn(self, packet: "Packet") -> None:
        """Take note of a key frame: of the settings that it gives, and as what the pictures behind it refer to."""
        self._key = self._units(packet)

    def fit(self, packet: "Packet", everything: bool = True) -> bool:
        """Whether the last part of the picture ends with its data; ``everything``: also of one that no other refers
        to. Of a picture that is none, :meth:`learn` wants the key frame first."""
        units = self._units(packet)
        if packet.is_keyframe:
            self._key = units
        parts = [number for number, unit in enumerate(units) if unit[0] & 31 in _SLICES]
        if not parts or (not everything and not units[parts[0]][0] >> 5 & 3):
            return True

        # New ones for each picture: what FFmpeg keeps of half a block it adds to the next picture, flushed or not.
        strict, mending = self._opened(err_detect="explode"), self._opened(err_detect="crccheck")

        def alone(changed: list[bytes]) -> list[bytes] | None:
            return self._decoded(changed, strict)

        def behind(changed: list[bytes]) -> list[bytes] | None:
            return self._decoded(changed, mending, self._key)

        # Alone there is none where bytes are missing, nor where pictures are that it refers to.
        decoded = alone if (as_it_is := alone(units)) is not None else behind
        if as_it_is is None and (as_it_is := behind(units)) is None:
            return True
        if self._says(units, parts[-1], as_it_is, decoded):
            return True
        # With some pictures FFmpeg does nothing at all while those are missing that they refer to. Behind the header of
        # the part: a picture that is damaged there may have been done with before its middle.
        last = units[parts[-1]]
        start = max(_HEADER, len(last) // 16)
        exchanged = last[:start] + _RANDOM[0].tobytes() + last[start + self.tail :]
        return decoded([*units[: parts[-1]], exchanged, *units[parts[-1] + 1 :]]) == as_it_is


def _unpadded(unit: bytes) -> bytes:
    """A unit without the padding at its end; from there, as damage may be zeros all the way."""
    end = len(unit.rstrip(b"\x00"))
    while unit.endswith(_PADDING, 0, end):
        end -= len(_PADDING)
        while end and not unit[end - 1]:
            end -= 1
    return unit[:end]


def _samples(plane: Any, width: int) -> bytes:
    """The samples of a plane, ``width`` bytes each, without what is left over at the end of its lines."""
    stored = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return stored[: plane.height, : plane.width * width].tobytes()


def of(stream: av.VideoStream) -> Endings | None:
    """For a track of H.265 whose units can be found; None for any other."""
    return Endings(stream.codec_context.extradata or b"") if _can_split(stream, "hevc") else None


def of_h264(stream: av.VideoStream) -> H264Endings | None:
    """For a track of H.264 whose units can be found; None for any other."""
    return H264Endings(stream.codec_context.extradata or b"") if _can_split(stream, "h264") else None


def _can_split(stream: av.VideoStream, codec: str) -> bool:
    header = stream.codec_context.extradata
    return stream.codec_context.name == codec and bool(
        bitstream.length_bytes(codec, header) or bitstream.is_stream(header)
    )
