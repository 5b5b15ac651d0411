"""One decoder that says of every picture whether it is sound, as far as its format lets it.

- H.264, MPEG-4 part 2, MJPEG: FFmpeg's decoders mark pictures that they had to mend, or refuse the packet.
- MJPEG: what libjpeg-turbo finds wrong counts as well, and brightness that no picture has (:mod:`recording.overshoot`).

The last two only where they find nothing wrong with a recording's first pictures: there are cameras whose every picture
has a few bytes too many.
- H.265: FFmpeg's decoder has no such check; it paints whatever the damaged bytes mean. Whether its data ends where the
  decoder does is looked at apart (:mod:`recording.endings`).
"""

from typing import TYPE_CHECKING

import av

from recording import endings, pictures

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

DETECTING = {"h264": "crccheck", "mjpeg": "crccheck+bitstream+buffer+explode"}
"""What FFmpeg's decoders report as an error (err_detect), where it is not the usual. H.264's marks pictures that it had
to mend, and would take messages from the camera that it does not understand for damage."""
USUAL = "crccheck+explode"
TO_THE_END = "+aggressive"
"""H.264 without arithmetic coding: a picture with data left over is damaged."""


class Damaged(Exception):
    """A packet that does not decode, or to something else than its encoder meant."""


class Decoder:
    """The decoder of an opened track. ``threads`` of them decode packets ahead of each other.

    ``strict``: whether libjpeg-turbo is asked about MJPEG, and the endings of H.265 are looked at: not where they find
    fault with a recording's first pictures (:class:`recording.frames.Index`).
    """

    def __init__(self, stream: av.VideoStream, threads: int, strict: bool = False) -> None:
        self.context, self.threads = stream.codec_context, threads
        self.strict = strict and self.context.name == "mjpeg"
        self.endings = endings.of(stream) if strict else None
        self.context.thread_type, self.context.thread_count = ("AUTO" if threads > 1 else "SLICE"), threads
        detecting = DETECTING.get(self.context.name, USUAL)
        strictly = TO_THE_END if strict and self.context.name == "h264" else ""
        self.context.options = {"err_detect": detecting + strictly}

    def decode(self, packet: "Packet | None", everything: bool = True) -> list[tuple[av.VideoFrame, bool]]:
        """The pictures that come out for a packet (None: for the end), each with whether it is sound.

        ``everything``: also a picture that no other refers to. Raises :class:`Damaged`: with several threads, an
        earlier packet may be meant.
        """
        if self.endings is not None and packet is not None and not self.endings.fit(packet, everything):
            raise Damaged("its data does not end where the picture does")
        if self.strict and packet is not None and not pictures.is_sound_jpeg(bytes(packet)):
            raise Damaged("libjpeg-turbo finds it damaged, or its brightness is none")
        self.context.skip_frame = "DEFAULT" if everything else "NONREF"
        try:
            return [(picture, not picture.is_corrupt) for picture in self.context.decode(packet)]
        except av.error.FFmpegError as error:
            raise Damaged(str(error)) from error

    def flush(self) -> None:
        """Forget everything: what comes next is decoded from a key frame on."""
        self.context.flush_buffers()
