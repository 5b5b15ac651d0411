"""Comparing two versions: the same samples, none that either was trained on, intervals over time blocks."""

from dataclasses import replace
from pathlib import Path

import faces
import numpy as np
import packages
import pytest

from recording.face import Face
from recording.layouts import View
from registry import comparison, contract, versions
from registry.comparison import Package
from registry.crop import Crop


def package(folder: Path, number: int, **options: object) -> Package:
    sealed = packages.make_package(folder, **options)
    version = versions.Version("gaze-tracker", number, "None", (), None, None, "", "", "")
    network = contract.GazeNetwork(folder / contract.NETWORK)
    return Package(version, sealed, network, packages.Holdout.read((folder / "holdout.npz").read_bytes()))


def test_the_difference_of_two_biases_comes_out(tmp_path: Path) -> None:
    worse, better = package(tmp_path / "a", 1, bias_deg=(3, 0)), package(tmp_path / "b", 2, bias_deg=(1, 0))
    compared = comparison.compare(worse, better, better.holdout)
    azimuth, _, angular = compared.difference()
    assert azimuth.mean == pytest.approx(-2, abs=0.1)
    assert azimuth.answer == angular.answer == "better"
    assert azimuth.low <= azimuth.mean <= azimuth.high
    assert [row[:2] for row in compared.by_scenario()] == [(number, 6) for number in range(1, 11)]


def test_a_difference_that_is_not_that_of_the_two_errors_says_why(tmp_path: Path) -> None:
    samples = packages.make_holdout(60)
    samples.labels_deg[samples.blocks == 0] += [2.0, 0.0]
    even, uneven = samples, replace(samples, blocks=np.where(np.arange(60) < 50, 0, samples.blocks))
    one, other = package(tmp_path / "a", 1, holdout=even, bias_deg=(1, 0)), package(tmp_path / "b", 2, holdout=even)
    assert comparison.compare(one, other, even).describe_weights() == ""
    compared = comparison.compare(one, other, uneven)
    assert len(np.unique(uneven.blocks)) == 2
    assert abs(compared.difference()[2].mean - (compared.second_deg - compared.first_deg)[:, 2].mean()) > 0.1
    assert compared.describe_weights() == (
        "the errors are means over 60 samples, the differences over 2 time blocks of 10 to 50 samples, each block "
        "counting once"
    )


def test_samples_that_are_near_copies_of_a_trained_frame_are_left_out(tmp_path: Path) -> None:
    held_out = packages.make_holdout(60)
    one = package(tmp_path / "a", 1, holdout=held_out)
    # Frame 10,300 is one of the held-out ones (two a second at 30 fps): it, and one sample beside it on each side.
    trained = packages.make_holdout(60, trained_frames=np.array([held_out.frames[20]]))
    other = package(tmp_path / "b", 2, holdout=trained)
    seen = comparison.trained_on(held_out, other)
    assert np.flatnonzero(seen).tolist() == [19, 20, 21]
    compared = comparison.compare(one, other, held_out)
    assert (len(compared), compared.left_out) == (57, 3)
    # … whichever of the two was trained on them.
    assert len(comparison.compare(other, one, held_out)) == 57


def test_frames_of_another_drive_are_never_the_same_frames(tmp_path: Path) -> None:
    held_out = packages.make_holdout(10)
    elsewhere = packages.make_holdout(10, drive="e" * 64, trained_frames=held_out.frames)
    assert not comparison.trained_on(held_out, package(tmp_path / "a", 1, holdout=elsewhere)).any()


def test_both_holdouts_hold_every_sample_once(tmp_path: Path) -> None:
    one = package(tmp_path / "a", 1, holdout=packages.make_holdout(10))
    half_new = package(tmp_path / "b", 2, holdout=packages.make_holdout(10, first_frame=10_000 + 5 * 15))
    assert [len(samples) for samples in comparison.both_holdouts(one, half_new)] == [10, 5]


@pytest.mark.parametrize("places", [(50,), (50, 60)], ids=["fixed", "detected"])
def test_versions_of_which_one_reads_a_face_are_compared_on_pictures_that_show_it(
    tmp_path: Path, places: tuple[int, ...]
) -> None:
    cut = [Face(320, 360, View(x, 80, 200, 200)) for x in places]
    shown = packages.make_holdout(10)
    shown.jpegs, shown.face = [faces.jpeg(np.full((360, 320, 3), 128, np.uint8))] * 10, cut[0]
    one = package(tmp_path / "a", 1, holdout=packages.make_holdout(10), crop=Crop.of("dashgaze", ()))
    other = package(tmp_path / "b", 2, holdout=shown, crop=Crop.of("dashgaze", (), cut))
    for pair in ((one, other), (other, one)):  # whichever is named first
        assert [samples.jpegs for samples in comparison.both_holdouts(*pair)] == [shown.jpegs]
    whole = package(tmp_path / "c", 3, holdout=replace(shown, face=None), crop=Crop.of("dashgaze", ()))
    assert comparison.suits(whole.holdout, other) == (len(places) == 1)  # nobody said where the face is


def test_a_scenario_that_got_worse_is_shown_and_one_that_only_varies_is_not(tmp_path: Path) -> None:
    held_out = packages.make_holdout(60)
    held_out.labels_deg[held_out.scenarios == 4] += [3.0, 0.0]
    old = package(tmp_path / "a", 1, holdout=held_out, bias_deg=(3, 0))
    changes = comparison.compare(old, package(tmp_path / "b", 2, holdout=held_out), held_out).scenario_changes(5)
    shown = [change.number for change in changes if change.at_least_deg > 0]
    assert shown == [4]
    assert changes[3].mean_deg == pytest.approx(3, abs=0.2)
    assert not comparison.compare(old, old, held_out).scenario_changes(7)  # no scenario has so many samples


def test_the_figure_is_written(tmp_path: Path) -> None:
    one, two = package(tmp_path / "a", 1, bias_deg=(3, 0)), package(tmp_path / "b", 2)
    comparison.draw(comparison.compare(one, two, two.holdout), tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_of_several_drives_only_the_one_that_was_trained_on_is_left_out(tmp_path: Path) -> None:
    """Frame numbers are those of each drive: the same number elsewhere is another frame."""
    samples = packages.make_holdout(60, drivers=("Anna", "Ben"))
    samples.frames = np.tile(samples.frames[:30], 2)
    seen = packages.make_holdout(60, drive="b" * 64, first_frame=90_000, trained_frames=samples.frames[:30])
    one, other = package(tmp_path / "a", 1, holdout=samples), package(tmp_path / "b", 2, holdout=seen)
    assert np.unique(samples.drivers[comparison.trained_on(samples, other)]).tolist() == ["Ben"]
    compared = comparison.compare(one, other, samples)
    assert (len(compared), np.unique(compared.drivers).tolist()) == (30, ["Anna"])
    assert compared.used == "1 drive of Anna"
    assert [len(part) for part in comparison.both_holdouts(one, one)] == [30, 30, 0, 0]
