"""What a model has learnt from: near copies in whatever file, each recording once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import packages
import pandas as pd
import pytest

from recording import fingerprint, prepared
from recording.fingerprint import Fingerprint
from recording.recordings import Recordings
from registry import lineage
from registry.lineage import Footage

ORIGINAL = packages.make_moments(1)


def footage(frames: np.ndarray, name: str = "a", moments: Fingerprint = ORIGINAL, fps: float = 30.0) -> Footage:
    return Footage(name * 64, fps, np.asarray(frames), moments)


@pytest.mark.parametrize("moments", [ORIGINAL, Fingerprint()])
def test_in_one_file_frames_less_than_a_second_apart_are_near_copies(moments: Fingerprint) -> None:
    seen = footage([9300], moments=moments)
    near = lineage.near_copies(footage([9270, 9271, 9329, 9330]), seen)
    assert near.tolist() == [False, True, True, False]


def test_at_a_rate_that_varies_frames_a_second_apart_are_none_and_less_are(tmp_path: Path) -> None:
    # A split leaves a second between its parts: its own test frames must not count as seen by its final training.
    times = np.cumsum(np.random.default_rng(0).choice([0.016, 0.033, 0.05], 1500)).round(6)
    fingerprint.write(tmp_path, Fingerprint(np.arange(0, 1500, 8), times[::8], np.zeros((188, 144), np.int8)))
    table = pd.DataFrame({"frame": np.arange(1500), prepared.TIME: times})
    drive = prepared.Samples(tmp_path, "d", table, 30.0, "d" * 64, "a" * 64, rendered=False, layout=None)
    data = Recordings((drive,))
    for frame in range(0, 1400, 50):
        later = int(np.searchsorted(times, times[frame] + 1.0 - 1e-6))
        trained = replace(lineage.of(data, np.array([frame]), 0), clock=lineage.Clock())  # as a version keeps it
        near = lineage.near_copies(lineage.of(data, np.array([later - 1, later]), 0), trained)
        assert near.tolist() == [True, False], frame


def test_in_a_copy_at_another_rate_they_are_as_well() -> None:
    # Every third frame left, ten seconds cut off: frame n was 3n + 9300.
    copied = Fingerprint((ORIGINAL.frames - 9300) // 3, (ORIGINAL.frames - 9300) / 30, ORIGINAL.pictures)
    copy = footage([100, 105, 115, 200], "b", copied, fps=10)
    assert lineage.near_copies(copy, footage([9600])).tolist() == [True, True, False, False]
    assert lineage.near_copies(footage([9600]), copy).all()


@pytest.mark.parametrize("moments", [packages.make_moments(2), Fingerprint()])
def test_what_is_not_known_to_be_a_copy_is_none(moments: Fingerprint) -> None:
    assert not lineage.near_copies(footage(ORIGINAL.frames, "b", moments), footage(ORIGINAL.frames)).any()


def test_frames_of_a_recording_are_joined_and_the_fingerprint_is_kept() -> None:
    parts = [footage([5, 6]), footage([1], "b"), footage([6, 9], moments=Fingerprint()), footage([], "c")]
    joined = lineage.joined(parts)
    assert [(part.recording[0], part.frames.tolist()) for part in joined] == [("a", [5, 6, 9]), ("b", [1])]
    assert len(joined[0].moments) == len(ORIGINAL)
