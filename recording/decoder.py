"""One decoder that says of every picture whether it is sound, as far as its format lets it.

- H.264, MPEG-4 part 2, MJPEG: FFmpeg's decoders mark pictures that they had to mend, or refuse the packet.
- H.265: FFmpeg's decoder has no such check; it paints whatever the damaged bytes mean. Where the encoder wrote the
  entry points of wavefronts (x265 does by default), the packet is decoded twice: once reading on from row to row,
  once jumping to each row's entry point. A sound packet gives the same picture both ways, a damaged one does not: the
  arithmetic decoder does not arrive where the next row begins. Without them, only what breaks the syntax is seen.
"""

from typing import TYPE_CHECKING, Any

import av
import numpy as np

from recording import bitstream

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

DETECTING = {"h264": "crccheck", "mjpeg": "crccheck+bitstream+buffer+explode"}
"""What FFmpeg's decoders report as an error (err_detect), where it is not the usual. H.264's marks pictures that it had
to mend, and would take messages from the camera that it does not understand for damage."""
USUAL = "crccheck+explode"


class Decoder:
    """The decoder of an opened track. ``threads`` of them decode packets ahead of each other."""

    def __init__(self, stream: av.VideoStream, threads: int) -> None:
        self.context = stream.codec_context
        options = {"err_detect": DETECTING.get(self.context.name, USUAL)}
        self.twin: av.VideoCodecContext | None = None
        if self.context.name == "hevc" and bitstream.has_entry_points(self.context.extradata):
            threads = 1  # decoders that run ahead do not give their pictures at the same time
            self.twin = av.CodecContext.create("hevc", "r")
            self.twin.extradata = self.context.extradata
            self.twin.thread_type, self.twin.thread_count = "SLICE", 2
            self.twin.options = dict(options)
        self.threads = threads
        self.context.thread_type, self.context.thread_count = ("AUTO" if threads > 1 else "SLICE"), threads
        self.context.options = options

    def decode(
        self, packet: "av.Packet[av.VideoStream] | None", everything: bool = True
    ) -> list[tuple[av.VideoFrame, bool]]:
        """The pictures that come out for a packet (None: for the end), each with whether it is sound.

        ``everything``: also a picture that no other refers to. Raises FFmpeg's error where the packet does not decode.
        """
        self.context.skip_frame = "DEFAULT" if everything else "NONREF"
        if self.twin is None:
            return [(picture, not picture.is_corrupt) for picture in self.context.decode(packet)]
        self.twin.skip_frame = self.context.skip_frame
        again = {picture.pts: picture for picture in self.twin.decode(packet)}
        pictures = self.context.decode(packet)
        return [(picture, not picture.is_corrupt and _same(picture, again.get(picture.pts))) for picture in pictures]

    def flush(self) -> None:
        """Forget everything: what comes next is decoded from a key frame on."""
        self.context.flush_buffers()
        if self.twin is not None:
            self.twin.flush_buffers()


def _same(one: av.VideoFrame, other: av.VideoFrame | None) -> bool:
    if other is None or one.format.name != other.format.name:
        return False
    width = 2 if one.format.components[0].bits > 8 else 1
    return all(
        np.array_equal(_samples(plane, width), _samples(same, width))
        for plane, same in zip(one.planes, other.planes, strict=True)
    )


def _samples(plane: Any, width: int) -> np.ndarray:
    """The bytes of a plane without what is left over at the end of its lines."""
    stored: np.ndarray = np.frombuffer(plane, np.uint8)
    return np.asarray(stored.reshape(-1, plane.line_size)[: plane.height, : plane.width * width])
