"""Whether the data of an H.264 picture ends where its decoder does: of sound pictures always, whatever they show."""

import shutil
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from recording import endings, frames, second_look
from tests import recordings

SIZE = (640, 480)
PICTURES = 40
ENCODERS = {
    "usual": {"threads": "1"},  # one part
    "slow": {"preset": "slow"},
    "key frames only": {"g": "1"},
    "interlaced": {"x264-params": "interlaced=1"},
    "constant rate": {"x264-params": "nal-hrd=cbr", "b": "1M", "minrate": "1M", "maxrate": "1M", "bufsize": "500k"},
}


def encoded(path: Path, kind: str, encoder: str) -> Path:
    """A film with black bars above and below what moves, or with little that moves in front of one colour."""
    random = np.random.default_rng(0)
    wide = np.kron(random.integers(30, 220, (20, 60, 3)), np.ones((16, 16, 1)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=ENCODERS[encoder])
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        for number in range(PICTURES):
            shown = np.full((SIZE[1], SIZE[0], 3), 16 if kind == "bars" else 90, np.uint8)
            if kind == "bars":
                shown[80:400] = np.clip(
                    wide[:, 3 * number :][:, : SIZE[0]] + random.normal(0, 4, (320, 640, 3)), 0, 255
                )
            else:
                shown[60 : 60 + 4 * number, 300:340] = random.integers(0, 255, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "bgr24")))
        container.mux(stream.encode(None))
    return path


def fits(path: Path, behind_key: bool = False) -> list[bool]:
    """Of every packet in the order of the file; ``behind_key``: each on its own, after its key frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        looked_at, key, found = endings.of_h264(stream), None, []
        for packet in container.demux(stream):
            if packet.size:
                key = packet if packet.is_keyframe else key
                if behind_key:
                    looked_at = endings.of_h264(stream)
                    looked_at.learn(key)
                found.append(looked_at.fit(packet))
        return found


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("kind", ["bars", "one colour"])
def test_a_sound_picture_ends_with_its_data_though_its_last_bytes_paint_nothing_to_be_seen(
    kind: str, encoder: str, tmp_path: Path
) -> None:
    path = encoded(tmp_path / "v.mp4", kind, encoder)
    assert fits(path) == [True] * PICTURES
    assert fits(path, behind_key=True) == [True] * PICTURES


def test_lines_that_are_cropped_are_compared_too(tmp_path: Path) -> None:
    """Of a height that is no multiple of 16 the last bytes code lines that nobody sees."""
    random = np.random.default_rng(0)
    wide = cv2.resize(random.integers(0, 256, (40, 60, 3), dtype=np.uint8), (480, 272), interpolation=cv2.INTER_CUBIC)
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        options = {"preset": "veryfast", "qp": "10", "g": "30", "threads": "1"}
        stream = container.add_stream("libx264", rate=30, options=options)
        (stream.width, stream.height), stream.pix_fmt = (240, 136), "yuv420p"
        for number in range(PICTURES):
            left, top = int(120 * (1 + np.sin(number / 19))), int(68 * (1 + np.cos(number / 15)))
            shown = wide[top : top + 136, left : left + 240] + random.normal(0, 2, (136, 240, 3))
            picture = np.clip(shown, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode(None))
    assert fits(tmp_path / "v.mp4") == [True] * PICTURES


def test_data_left_over_is_told_there_too(tmp_path: Path) -> None:
    path = recordings.lengthened(encoded(tmp_path / "v.mp4", "bars", "usual"), tmp_path / "longer.mp4")
    assert fits(path) == fits(path, behind_key=True) == [False] * PICTURES


def test_a_packet_alone_is_judged_behind_its_key_frame(tmp_path: Path) -> None:
    sound = encoded(tmp_path / "v.mp4", "bars", "usual")
    longer = recordings.lengthened(sound, tmp_path / "longer.mp4", [33])
    for path, positions, expected in ((sound, [33, 7, 38], False), (longer, [7, 38], False), (longer, [33], True)):
        index = frames.scan(path)
        assert second_look.has_damaged(path, index, dict.fromkeys(positions, True)) == expected
        counted = replace(index, exact=False)
        assert second_look.has_damaged(path, counted, dict.fromkeys(positions, True)) == expected


def test_damage_with_which_the_decoder_is_done_before_the_middle_is_told(tmp_path: Path) -> None:
    options = {"threads": "1", "x264-params": "keyint=12:scenecut=0:bframes=0"}
    sound = recordings.scene(tmp_path / "v.mp4", "libx264", options, speed=0.1)
    assert all(fits(sound))
    for seed in range(8):
        path = recordings.damage(Path(shutil.copy(sound, tmp_path / "damaged.mp4")), [17], seed)
        assert [number for number, fit in enumerate(fits(path)) if not fit] == [17], seed
