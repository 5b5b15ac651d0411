"""Whether the data of an H.265 picture ends where its decoder does: damage that FFmpeg's decoder does not see.

H.265's arithmetic decoder makes a picture of whatever bytes it gets. But it must arrive exactly where the data ends,
and after damage it does not: it needs more bytes than there are, or is finished before they are used up. So a picture
is decoded again on its own, with bytes added behind its end, which must change nothing, and with its last bytes
exchanged, which must change something. The pictures it refers to are missing then and grey; what is read from the
bytes does not depend on them (ITU-T H.265, 9.3), and filters at the edges of blocks are left out because they do.
"""

from typing import TYPE_CHECKING, Any

import av
import numpy as np

from recording import bitstream

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

_PICTURES = 32  # types of units below this hold a part of a picture
_UNUSED = {0, 2, 4, 6, 8, 10, 12, 14}  # no other picture refers to these (table 7-1)
_AS_TRAILING = {8: 0, 9: 1}  # a decoder that starts here leaves out what is shown before its key frame
_RANDOM = np.random.default_rng(0).integers(4, 256, (64, 4), dtype=np.uint8)  # none begins something
_TAIL = _RANDOM.shape[1]
_PADDING = b"\x00\x00\x03"  # words of zeros that a constant bit rate asks for (7.3.2.9)
_SHORTEST = 40  # a part with less behind its header says nothing


class Endings:
    """Looks at the packets of one H.265 track, whose own header is ``header`` (hvcC; ISO/IEC 14496-15, 8.3.3.1)."""

    def __init__(self, header: bytes) -> None:
        self._width, self._header = (header[21] & 3) + 1, header
        self._decoder = self._opened()

    def _opened(self) -> Any:
        decoder = av.CodecContext.create("hevc", "r")
        decoder.extradata = self._header
        decoder.thread_type, decoder.thread_count = "SLICE", 1  # threads jump to where rows should begin
        decoder.options = {"flags": "output_corrupt", "skip_loop_filter": "all"}
        return decoder

    def fit(self, packet: "Packet", everything: bool = True) -> bool:
        """Whether every part of the picture ends with its data; ``everything``: also of one that no other refers to."""
        units = list(bitstream.units(memoryview(packet), self._width))
        parts = [number for number, unit in enumerate(units) if unit[0] >> 1 < _PICTURES]
        if not parts or (not everything and units[parts[0]][0] >> 1 in _UNUSED):
            return True
        kept = [bytes([_AS_TRAILING.get(unit[0] >> 1, unit[0] >> 1) << 1]) + unit[1:] for unit in units]
        as_it_is = self._decoded(kept)
        longer = [_unpadded(unit) + _RANDOM[:4].tobytes() if n in parts else unit for n, unit in enumerate(kept)]
        if as_it_is is None:
            return False
        # Motion in a missing picture is what its memory held before: only of new decoders is it sure to be none.
        if self._decoded(longer) != as_it_is and self._decoded(longer, new=True) != self._decoded(kept, new=True):
            return False
        last = _unpadded(kept[parts[-1]])
        if len(last) < _SHORTEST:
            return True
        exchanged = ([*kept[: parts[-1]], last[:-_TAIL] + tail.tobytes(), *kept[parts[-1] + 1 :]] for tail in _RANDOM)
        return any(self._decoded(changed) != as_it_is for changed in exchanged)

    def _decoded(self, units: list[bytes], new: bool = False) -> list[bytes] | None:
        """The planes of the picture alone, None where there is none; by a ``new`` decoder, or by the same as always."""
        decoder = self._opened() if new else self._decoder
        packet = av.Packet(b"".join(len(unit).to_bytes(self._width) + unit for unit in units))
        try:
            pictures = [*decoder.decode(packet), *decoder.decode(None)]
        except av.error.FFmpegError:
            pictures = []
        decoder.flush_buffers()
        if not pictures:
            return None
        width = 2 if pictures[0].format.components[0].bits > 8 else 1
        return [_samples(plane, width) for plane in pictures[0].planes]


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
    """For a track of H.265 whose units are stored by length; None for any other."""
    codec = stream.codec_context
    by_length = codec.name == "hevc" and bitstream.length_bytes(codec.name, codec.extradata)
    return Endings(codec.extradata) if by_length and codec.extradata else None
