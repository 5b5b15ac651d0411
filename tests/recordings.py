"""Small recordings for tests: videos whose every picture shows its own frame number, and the CSV beside them."""

import contextlib
import fractions
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from recording import bitstream, drive_list

SAME_EVERYWHERE = {
    "libx264": ("x264-params", "threads=1:cpu-independent=1"),
    "libx265": ("x265-params", "frame-threads=1"),
}
"""What makes an encoder write the same bytes on every machine: x264 works in as many threads as there are processors.
Damage at a place of the file is the same damage only then."""
BITS = 12
LEFT, TOP, SIDE, TALL = 12, 24, 8, 24
"""The number is drawn in binary, lowest bit left, as bars inside the driver view of a composite of COMPOSITE size."""
COMPOSITE = (376, 134)
SCENE_FRAMES = 48


def picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 BGR: blotches that differ from frame to frame, and ``number`` as white and black bars."""
    width, height = size
    blotches = np.random.default_rng(number).integers(60, 200, (height // 16, width // 16, 3), dtype=np.uint8)
    drawn = cv2.resize(blotches, size)
    for bit in range(BITS):
        left = LEFT + SIDE * bit
        drawn[TOP : TOP + TALL, left : left + SIDE] = 235 if number >> bit & 1 else 16
    return drawn


def number(drawn: np.ndarray, left: int = 0, top: int = 0) -> int:
    """The number that a picture shows; ``left`` and ``top`` say how much was cropped away there."""
    bars = drawn[TOP - top + 4 : TOP - top + TALL - 4]
    starts = [LEFT - left + SIDE * bit for bit in range(BITS)]
    return sum(1 << bit for bit, start in enumerate(starts) if bars[:, start + 2 : start + SIDE - 2].mean() > 125)


def video(
    path: Path,
    frames: int = 120,
    size: tuple[int, int] = (192, 96),
    codec: str = "libx264",
    gop: int = 30,
    options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    keys: Iterable[int] = (),
    b_frames: int | None = None,
    rotation: int = 0,
    matrix: Sequence[int] | None = None,
    pixel: tuple[int, int] | None = None,
    times: Sequence[int] | None = None,
    curve: int | None = None,
) -> Path:
    """Encode a numbered video. ``times_ms``: presentation times, 30 fps without; ``times``: the same in
    thirtieths of a second; ``keys``: forced key frames;
    ``matrix``: FFmpeg's display matrix; ``pixel``: width and height of one, for pixels that are not square;
    ``curve``: what its values mean in light (FFmpeg's ``color_trc``)."""
    clock = fractions.Fraction(1, 30) if times_ms is None else fractions.Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30, options=same_everywhere(codec, options))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = clock
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if curve is not None:
            stream.codec_context.color_trc = curve
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = fractions.Fraction(*pixel)
        for shown in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(shown, size), "bgr24")
            due = times if times_ms is None else times_ms
            frame.pts, frame.time_base = shown if due is None else int(due[shown]), clock
            if shown in keys:
                frame.pict_type = av.video.frame.PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def same_everywhere(codec: str, options: dict[str, str] | None = None) -> dict[str, str]:
    """An encoder's ``options``, and those that make it write the same bytes on every machine."""
    if codec not in SAME_EVERYWHERE:
        return options or {}
    name, fixed = SAME_EVERYWHERE[codec]
    given = (options or {}).get(name)
    return (options or {}) | {name: f"{given}:{fixed}" if given else fixed}


def in_ordinary_time() -> None:
    """Put this process back where it was before it encoded.

    SVT-AV1 lets the process of root that encodes with it run in real time for good, and with it all that the process
    starts: on two cores nothing else runs then, and what was started before is not answered.
    """
    if os.sched_getscheduler(0) == os.SCHED_OTHER:
        return
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


def scene(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    patch: int | None = None,
    speed: float = 1.0,
    brighter: int = 25,
) -> Path:
    """Encode a scene that moves and has noise, :data:`SCENE_FRAMES` pictures of 320×192; ``brighter`` by so much in a
    square of 16 pixels in picture ``patch``."""
    width, height = size = 320, 192
    random = np.random.default_rng(0)
    wide = cv2.resize(random.integers(30, 220, (30, 48, 3), dtype=np.uint8), None, fx=12, fy=12)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30, options=same_everywhere(codec, options))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(SCENE_FRAMES):
            left, top = round(100 + 90 * np.sin(speed * number / 20)), round(70 + 60 * np.cos(speed * number / 15))
            shown = cv2.add(
                wide[top : top + height, left : left + width],
                random.normal(0, 3, (height, width, 3)).astype(np.int8),
                dtype=cv2.CV_8U,
            )
            if number == patch:
                shown[80:96, 160:176] = cv2.add(shown[80:96, 160:176], brighter)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "bgr24")))
        container.mux(stream.encode(None))
    return path


def joined(path: Path, *parts: Path, cover: int | None = None, default: int | None = None) -> Path:
    """One file with the film of each part as a track of its own, in their order; part ``cover`` is a cover picture,
    ``default`` the one to be shown."""
    sources = [av.open(str(part)) for part in parts]
    with av.open(str(path), "w") as target:
        tracks = [target.add_stream_from_template(source.streams.video[0]) for source in sources]
        if cover is not None:
            tracks[cover].disposition = av.stream.Disposition.attached_pic
        for number, track in enumerate(tracks):
            if default is not None:
                track.disposition = av.stream.Disposition(av.stream.Disposition.default if number == default else 0)
        for source, track in zip(sources, tracks, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = track
                    target.mux(packet)
            source.close()
    return path


def damage(path: Path, packets: Iterable[int], seed: int, kind: str = "overwritten") -> Path:
    """Damage packets of the file's first film in place: bytes behind their first tenth are ``overwritten`` at random,
    ``zeroed`` or a few bits ``flipped``."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content, random = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for packet in packets:
        position, size = places[packet]
        assert position is not None
        start = int(random.integers(max(8, size // 10), max(9, size // 2)))
        length = min(size - start, 1 + int(random.integers(size // 4, size // 2 + 1)))
        at = position + start
        if kind == "flipped":
            for place in random.integers(at, at + length, 3):
                content[place] ^= 1 << int(random.integers(8))
        else:
            content[at : at + length] = bytes(length) if kind == "zeroed" else random.bytes(length)
    path.write_bytes(content)
    return path


def cut(path: Path, copy: Path, first: int) -> Path:
    """A copy of a film that begins with its packet ``first``, as recorders cut streams, wherever key frames are."""
    with av.open(str(path)) as source:
        track = source.streams.video[0]
        packets = [packet for packet in source.demux(track) if packet.size]
        if path.suffix in (".ts", ".mpg", ".h264", ".h265"):
            place = packets[first].pos
            assert place is not None
            copy.write_bytes(path.read_bytes()[place:])
            return copy
        with av.open(str(copy), "w") as target:
            if track.codec_context.name == "libdav1d":  # which writes nothing, so that its track is no template
                stream: Any = target.add_stream("libsvtav1", rate=30)
                stream.width, stream.height, stream.pix_fmt = track.width, track.height, "yuv420p"
            else:
                stream = target.add_stream_from_template(track)
            for packet in packets[first:]:
                packet.stream = stream
                target.mux(packet)
    return copy


def lengthened(path: Path, copy: Path, packets: Iterable[int] | None = None, behind: bytes = b"\x55\xaa" * 9) -> Path:
    """A copy of an H.264 or H.265 film with bytes behind the last unit of ``packets`` (None: all): left-over data, as
    an arithmetic decoder leaves it that damage has ended too early."""
    with av.open(str(path)) as source, av.open(str(copy), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            units = list(bitstream.units(memoryview(packet), 4))
            if packets is None or number in packets:
                units[-1] += behind
            longer = av.Packet(b"".join(len(unit).to_bytes(4) + unit for unit in units))
            longer.pts, longer.dts, longer.time_base = packet.pts, packet.dts, packet.time_base
            longer.stream, longer.is_keyframe = stream, packet.is_keyframe
            target.mux(longer)
    return copy


def read_forward(path: Path) -> list[np.ndarray]:
    """Every picture as OpenCV reads it from the start: what a frame number means."""
    capture, pictures = cv2.VideoCapture(str(path)), []
    while True:
        read, shown = capture.read()
        if not read:
            return pictures
        pictures.append(shown)


def angles(frame: int) -> tuple[float, float]:
    """(azimuth, elevation) in degrees that :func:`labels` writes for a frame."""
    return round(20 * float(np.sin(frame / 9)), 4), round(8 * float(np.cos(frame / 7)) - 5, 4)


def labels(path: Path, frames: Iterable[int], more: Iterable[str] = ()) -> Path:
    """A labels CSV with one good row for each of ``frames``, then the lines ``more`` as they are."""
    rows = [f"{1000 + 33 * frame},{frame},{angles(frame)[0]},{angles(frame)[1]},True," for frame in frames]
    header = "timestamp [ns],dash_frames,azimuth [deg],elevation [deg],worn,blink id"
    path.write_text("\n".join([header, *rows, *more]) + "\n")
    return path


def listed(folder: Path) -> tuple[drive_list.Entry, ...]:
    """A list of three drives of twelve frames: the second has labels that no drive can be made of."""
    rows = ["video,labels,driver,layout,face"]
    for drive in "abc":
        (folder / drive).mkdir()
        video(folder / drive / "v.mp4", 12)
        labels(folder / drive / "l.csv", range(12))
        rows.append(f"{drive}/v.mp4,{drive}/l.csv,{drive.upper()},driver,none")
    (folder / "b" / "l.csv").write_text("dash_frames,azimuth [deg],elevation [deg]\n9000,1,2\n")
    (folder / "drives.csv").write_text("\n".join(rows))
    return drive_list.read(folder / "drives.csv")
