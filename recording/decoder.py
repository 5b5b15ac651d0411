"""One decoder that says of every picture whether it is sound, as far as its format lets it.

- H.264, MPEG-4 part 2, MJPEG: FFmpeg's decoders mark pictures that they had to mend, or refuse the packet.
- MJPEG: what libjpeg-turbo finds wrong counts as well, brightness that no picture has (:mod:`recording.overshoot`), and
  a step from one block on (:mod:`recording.stairs`).
- H.265: FFmpeg's decoder has no such check; it paints whatever the damaged bytes mean. Whether its data ends where the
  decoder does is looked at apart (:mod:`recording.endings`); of H.264 only where a picture leaps
  (:mod:`recording.jumps`).

Of what is looked at besides FFmpeg's word, each only where it finds nothing wrong with a recording's first pictures:
there are cameras whose every picture has a few bytes too many, or a caption between blocks.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import av
import numpy as np

from recording import endings, jumps, pictures, segments, stairs

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

DETECTING = {"h264": "crccheck", "mjpeg": "crccheck+bitstream+buffer+explode"}
"""What FFmpeg's decoders report as an error (err_detect), where it is not the usual. H.264's marks pictures that it had
to mend, and would take messages from the camera that it does not understand for damage."""
USUAL = "crccheck+explode"
TO_THE_END = "+aggressive"
"""H.264 without arithmetic coding: a picture with data left over is damaged."""


Follower = jumps.Record | jumps.Watch


class Damaged(Exception):
    """A packet that does not decode, or to something else than its encoder meant."""


class Decoder:
    """The decoder of an opened track. ``threads`` of them decode packets ahead of each other.

    ``strict``: whether libjpeg-turbo is asked about MJPEG, and the endings of H.265 are looked at; ``even``: whether a
    step between the blocks of an MJPEG is damage. Not where they find fault with a recording's first pictures
    (:class:`recording.frames.Index`). ``follower``: is told of every packet and of the pictures that came out for it.
    """

    def __init__(
        self,
        stream: av.VideoStream,
        threads: int,
        strict: bool = False,
        even: bool = False,
        follower: Follower | None = None,
    ) -> None:
        self.context, self.threads = stream.codec_context, threads
        self.strict = strict and self.context.name == "mjpeg"
        self.even = even and self.context.name == "mjpeg"
        self.blocks: segments.Blocks | None = None
        self.endings = endings.of(stream) if strict else None
        self.follower = follower
        self.context.thread_type, self.context.thread_count = ("AUTO" if threads > 1 else "SLICE"), threads
        detecting = DETECTING.get(self.context.name, USUAL)
        strictly = TO_THE_END if strict and self.context.name == "h264" else ""
        self.context.options = {"err_detect": detecting + strictly}

    def decode(self, packet: "Packet | None", everything: bool = True) -> list[tuple[av.VideoFrame, bool]]:
        """The pictures that come out for a packet (None: for the end), each with whether it is sound. (One that is not
        though FFmpeg does not call it corrupt spoils no other.)

        ``everything``: also a picture that no other refers to. Raises :class:`Damaged`: with several threads, an
        earlier packet may be meant.
        """
        if self.endings is not None and packet is not None and not self.endings.fit(packet, everything):
            raise Damaged("its data does not end where the picture does")
        if self.strict and packet is not None and not pictures.is_sound_jpeg(bytes(packet)):
            raise Damaged("libjpeg-turbo finds it damaged, or its brightness is none")
        if self.even and packet is not None:
            self.blocks = segments.blocks(bytes(packet))
        self.context.skip_frame = "DEFAULT" if everything else "NONREF"
        try:
            decoded = self.context.decode(packet)
        except av.error.FFmpegError as error:
            raise Damaged(str(error)) from error
        if self.follower is not None:
            self.follower.follow(packet, decoded)
        return [(picture, self._is_sound(picture)) for picture in decoded]

    def _is_sound(self, picture: av.VideoFrame) -> bool:
        return not (picture.is_corrupt or (self.even and self.blocks and _has_stair(picture, self.blocks)))

    def flush(self) -> None:
        """Forget everything: what comes next is decoded from a key frame on."""
        self.context.flush_buffers()
        if self.follower is not None:
            self.follower.flushed()


def _has_stair(picture: av.VideoFrame, blocks: segments.Blocks) -> bool:
    """Whether brightness or a colour of an 8-bit picture steps between these blocks."""
    for component, plane in enumerate(picture.planes):
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        width, height = blocks.width * plane.width // picture.width, blocks.height * plane.height // picture.height
        if stairs.has_stair(lines, replace(blocks, width=width, height=height), component):
            return True
    return False
