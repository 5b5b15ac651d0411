"""The held-out samples: written and read back as they were, without pickles."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import packages
import pytest

from recording.exceptions import ContractError
from recording.face import Face
from recording.fingerprint import Fingerprint
from recording.layouts import View
from registry.holdout import Holdout, Source
from registry.lineage import Footage


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    elsewhere = [
        Footage(name * 64, rate, np.arange(size), packages.make_moments(size))
        for name, rate, size in (("e", 25.0, 4), ("f", 30.0, 7))
    ]
    written = packages.make_holdout(
        12, moments=packages.make_moments(1), elsewhere=tuple(elsewhere), drivers=("Anna", "Бен")
    )
    written.twin = tuple(replace(part, frames=part.frames[:-1], moments=Fingerprint()) for part in elsewhere)
    written.face = Face(950, 1068, View(300, 250, 420, 400))
    written.sources = (written.sources[0], replace(written.sources[1], face=written.face, fps=25.0))
    written.write(tmp_path / "holdout.npz")
    found = Holdout.read((tmp_path / "holdout.npz").read_bytes())
    for field in fields(Holdout):
        one, other = (plain(getattr(holdout, field.name)) for holdout in (found, written))
        np.testing.assert_equal(one, other, err_msg=field.name)


# The model has learnt from its held-out samples, its twin has not, and both have learnt from what lies before them.
def test_what_a_model_has_seen_and_what_its_twin_has_seen_are_two_things() -> None:
    moments = packages.make_moments(3, first_frame=0, seconds=400)
    found = packages.make_holdout(20, twin=True, moments=moments)
    assert found.saw(found.footage).all() and not found.measured_saw(found.footage).any()
    before = replace(found.footage, frames=np.arange(0, 3000, 15))
    assert found.saw(before).all() and found.measured_saw(before).all()
    # In a copy too: the twin's footage is known by the moments of the model's, which are stored once.
    copy = replace(before, recording="c" * 64)
    assert found.twin[0].moments.arrays()["frames"].size == 0 and found.measured_saw(copy).mean() > 0.9
    usual = packages.make_holdout(20)
    assert not usual.saw(usual.footage).any() and not usual.measured_saw(usual.footage).any()


def test_a_twin_has_seen_nothing_that_its_model_has_not() -> None:
    found = packages.make_holdout(20, twin=True)
    for part in (Footage("e" * 64, 30.0, np.arange(3)), Footage(found.drive, 30.0, np.array([15, 16]))):
        with pytest.raises(ValueError, match="the twin has seen frames that the model has not"):
            replace(found, twin=(part,))


def plain(value: object) -> object:
    """With what is made of arrays taken apart into them."""
    if isinstance(value, Fingerprint):
        return value.arrays()
    if isinstance(value, Source):
        return value.driver, value.drive, value.fps, value.face, value.moments.arrays()
    if isinstance(value, Footage):
        return value.recording, value.fps, value.frames, value.moments.arrays()
    return [plain(part) for part in value] if isinstance(value, tuple) else value


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    packages.make_holdout(5).write(tmp_path / "a.npz")
    packages.make_holdout(5).write(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]  # nothing half-written is left


def test_a_pickle_inside_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "holdout.npz", jpeg_bytes=np.array([{"code": "here"}], dtype=object))
    with pytest.raises(ContractError, match=r"holdout\.npz"):
        Holdout.read((tmp_path / "holdout.npz").read_bytes())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "holdout.npz").write_bytes(content)
    with pytest.raises(ContractError, match=r"holdout\.npz"):
        Holdout.read((tmp_path / "holdout.npz").read_bytes())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"frames": np.arange(3)}, "differ in length"),
        ({"scenarios": np.full(6, 11)}, "1 to 10"),
        ({"fps": 0.0}, "fps"),
        ({"labels_deg": np.full((6, 2), np.nan)}, "NaN"),
    ],
)
def test_samples_that_do_not_fit_together_are_refused(change: dict, reason: str) -> None:
    good = {field.name: getattr(packages.make_holdout(6), field.name) for field in fields(Holdout)}
    with pytest.raises(ValueError, match=reason):
        Holdout(**(good | change))


def test_samples_of_several_drives_come_apart_into_each_ones_own() -> None:
    kept = packages.make_holdout(12, drivers=("Anna", "Ben", "Cem"))
    parts = kept.subset(np.arange(1, 8)).parts()  # none of Cem's
    assert [place.tolist() for place, _ in parts] == [[0, 1, 2], [3, 4, 5, 6]]
    assert [part.drive[0] for _, part in parts] == ["a", "b"]
    assert parts[1][1].frames.tolist() == kept.frames[4:8].tolist()
    assert kept.drivers.tolist() == ["Anna"] * 4 + ["Ben"] * 4 + ["Cem"] * 4
    whole = packages.make_holdout(3)
    assert [part is whole for _, part in whole.parts()] == [True]
    with pytest.raises(ValueError, match="source has not one of the sources for each sample"):
        replace(kept, source=kept.source + 1)
