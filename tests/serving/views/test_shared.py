"""What the pages of the app have in common."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import streamlit as st

from recording import layouts
from recording.face import Face
from recording.layouts import View
from registry import stages
from registry.crop import Crop
from serving.views import shared


def test_a_version_is_called_by_the_stage_that_the_app_follows(
    monkeypatch: pytest.MonkeyPatch, command_line: Callable[..., None]
) -> None:
    monkeypatch.setitem(st.session_state, "production", 1)
    assert [shared.version_label(number) for number in (1, 2)] == ["version 1 (Production)", "version 2"]
    command_line("--stage", "Staging")
    assert shared.version_label(1) == "version 1 (Staging)"


def test_a_page_says_in_which_stage_nothing_is(opened, command_line: Callable[..., None]) -> None:
    command_line("--stage", "Staging")
    assert [info.value for info in opened("try_it").info] == ["No version is in Staging."]


def test_every_moment_is_shown_in_the_zone_of_the_machine_which_is_named(elsewhere: None) -> None:
    said = "2026-01-31 13:30:05 ABC"
    assert shared.local_time("2026-01-31T10:30:05Z") == shared.local_time("2026-01-31T10:30:05") == said
    assert shared.local_time(datetime(2026, 1, 31, 10, 30, 5, tzinfo=UTC)) == said
    assert shared.local_time("") == ""


@pytest.mark.parametrize("page", ["ground_truth", "drive"])
def test_samples_that_are_left_out_are_counted_with_an_example(page: str, opened, bare, version: int) -> None:
    folder = bare(20)
    (folder / "frame_00030_driver.jpg").write_bytes(b"")
    (folder / "frame_00060_gt.json").unlink()
    (folder / "frame_00090_gt.json").write_text("{")
    (folder / "frame_00120_gt.json").write_text('{"azimuth_deg": NaN, "elevation_deg": 1}')
    shown = opened(page, folder=str(folder), production=version)
    assert not shown.exception
    (warning,) = (warning.value for warning in shown.warning if "left out" in warning.value)
    assert warning.startswith(f"{folder}: 4 of 20 samples left out, the first: {folder / 'frame_00030_driver.jpg'}")


def test_a_sample_that_was_mended_is_read_again(opened, bare, version: int) -> None:
    folder = bare(20)
    truth = folder / "frame_00060_gt.json"
    good = truth.read_text()
    truth.write_text("{")
    shown = opened("ground_truth", folder=str(folder), production=version)
    assert any("1 of 20 samples left out" in warning.value for warning in shown.warning)
    truth.write_text(good)
    os.utime(truth, (2_000_000_000, 2_000_000_000))
    assert not shown.run().warning


@pytest.mark.parametrize("typed", ['"{}"', "'{}'", "  {} ", "~/mine", ' "~/mine"'])
def test_a_folder_in_quotes_among_blanks_or_at_home_is_found(
    typed: str, opened, bare, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shown = opened("ground_truth", folder=typed.format(bare()), production=version)
    assert not shown.exception
    assert not shown.error
    assert any("Frame" in caption.value or "relative to" in caption.value for caption in shown.caption)


@pytest.mark.parametrize("typed", ["x" * 5000, "x/" * 5000, "~nobody_there/mine", "a\0b", "nowhere", "/dev/null"])
def test_a_folder_that_cannot_be_is_one_line(typed: str, opened, version: int) -> None:
    shown = opened("ground_truth", folder=typed, production=version)
    assert not shown.exception
    (error,) = shown.error
    assert error.value.startswith("samples folder ")
    assert "\n" not in error.value


@pytest.mark.parametrize("page", ["ground_truth", "drive"])
def test_pictures_of_other_proportions_are_named_and_only_what_the_page_offers_is_proposed(
    page: str, opened, bare, make_version
) -> None:
    number = make_version(crop=Crop.of("dashgaze", layouts.DASHGAZE, [Face(950, 1068, View(300, 250, 420, 420))]))
    stages.promote("gaze-tracker", number, force=True, why="something has to be there")
    shown = opened(page, folder=str(bare(size=(640, 480))), production=number)
    (error,) = shown.exception
    assert error.message.startswith("frame_00")
    assert error.message.endswith("lies in (950x1068); give the whole driver view")


def test_the_bar_says_until_the_end_what_is_waited_for(opened, bare, version: int, bar_texts: list[str | None]) -> None:
    assert not opened("drive", folder=str(bare(40)), production=version).exception
    assert bar_texts == ["Version 1 of gaze-tracker looks at 40 pictures …"] * 4
