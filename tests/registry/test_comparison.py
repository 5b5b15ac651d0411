"""Comparing two versions: the same samples, none that either was trained on, intervals over time blocks."""

from pathlib import Path

import numpy as np
import packages
import pytest

from registry import comparison, contract, versions
from registry.comparison import Package


def package(folder: Path, number: int, **options: object) -> Package:
    sealed = packages.make_package(folder, **options)
    version = versions.Version("gaze-tracker", number, "None", (), None, None, "", "", "")
    network = contract.GazeNetwork(folder / contract.NETWORK)
    return Package(version, sealed, network, packages.Holdout.read(folder / "holdout.npz"))


def test_the_difference_of_two_biases_comes_out(tmp_path: Path) -> None:
    worse, better = package(tmp_path / "a", 1, bias_deg=(3, 0)), package(tmp_path / "b", 2, bias_deg=(1, 0))
    compared = comparison.compare(worse, better, better.holdout)
    mean, low, high = compared.difference()
    assert mean[0] == pytest.approx(-2, abs=0.1)
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert [row[:2] for row in compared.by_scenario()] == [(number, 6) for number in range(1, 11)]


def test_samples_within_a_second_of_a_trained_frame_are_left_out(tmp_path: Path) -> None:
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


def test_the_interval_is_wider_when_neighbours_err_alike() -> None:
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(20), 10)
    alike = np.repeat(rng.normal(size=20), 10)[:, None]
    alone = rng.permutation(alike)
    width = [high - low for _, low, high in (comparison.paired_bootstrap(d, blocks) for d in (alike, alone))]
    assert width[0] > 1.5 * width[1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    blocks = np.repeat(np.arange(15), 8)
    covered = 0
    for _ in range(200):
        noise = np.repeat(rng.normal(size=15), 8) + 0.3 * rng.normal(size=120)
        _, low, high = comparison.paired_bootstrap(1.0 + noise[:, None], blocks)
        covered += low[0] <= 1.0 <= high[0]
    assert 0.85 <= covered / 200 <= 0.99


def test_one_long_block_still_gives_an_interval() -> None:
    differences = np.random.default_rng(0).normal(size=(50, 1))
    mean, low, high = comparison.paired_bootstrap(differences, np.zeros(50, dtype=int))
    assert low[0] < mean[0] < high[0]


def test_the_figure_is_written(tmp_path: Path) -> None:
    one, two = package(tmp_path / "a", 1, bias_deg=(3, 0)), package(tmp_path / "b", 2)
    comparison.draw(comparison.compare(one, two, two.holdout), tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
