"""The accuracy panel: which drives, which part they belong to, and the tables."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import panel, tables
from training.sample.rendering import lab


def _faces(folder: Path) -> Path:
    """Three photographs a series of ten people, named by person and series."""
    (folder / "images").mkdir(parents=True)
    lines = ["image,person,series,azimuth [deg],elevation [deg]"]
    for number in panel.PEOPLE:
        for series in (1, 2):
            for shot in range(3):
                name = f"p{number}s{series}n{shot}.jpg"
                (folder / "images" / name).write_bytes(f"{number} {series}".encode())
                lines.append(f"{name},{number},{series},{shot},{number}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def _shown(folder: Path) -> set[tuple[int, ...]]:
    """Who (person, series) is in a bare folder."""
    return {tuple(map(int, path.read_bytes().split())) for path in folder.glob("*_driver.jpg")}


def test_the_panel_differs_in_what_it_is_there_for():
    recipes = panel.RECIPES.values()
    for field in ("seed", "driver", "driver_view", "tracker_elevation_deg"):
        assert len({getattr(recipe, field) for recipe in recipes}) >= 6, field
    assert len({recipe.light for recipe in recipes}) == 3
    assert len({recipe.fps for recipe in recipes}) >= 4
    sizes = [
        150 * recipe.focal / recipe.camera_mm / recipe.driver_view[0] for recipe in recipes
    ]  # a face is 150 mm wide
    assert min(sizes) < 0.25 < 0.55 < max(sizes)
    assert all(recipe.seconds * recipe.fps >= 560 for recipe in recipes)  # 500 samples without blinks and blanks


def test_drivers_of_the_panel_are_none_of_the_lab_people():
    assert {recipe.driver for recipe in panel.RECIPES.values()}.isdisjoint({lab.person_seed(n) for n in range(1000)})


def test_every_drive_is_chosen_on_or_confirmed_on(tmp_path):
    found = panel.entries(panel.RECIPES, panel.PEOPLE, panel.PEOPLE, tmp_path, 500)
    parts = {part: [entry.name for entry in found if entry.part == part] for part in (panel.CHOICE, panel.CONFIRMATION)}
    assert len(found) == 28
    assert [len(names) for names in parts.values()] == [14, 14]
    for names in parts.values():  # nobody is on both sides
        assert {name.split()[1] for name in names if name.startswith("person")} in (
            {"1", "2", "3", "4", "5"},
            {"6", "7", "8", "9", "10"},
        )


def test_a_person_who_is_left_out_is_in_no_other_part(tmp_path):
    faces = _faces(tmp_path / "faces")
    drive = panel.stranger(faces, 10, 10_000, tmp_path)
    train, validation, test = map(_shown, drive.folders)
    assert test == {(10, 1), (10, 2)}
    assert validation == {(1, 1), (1, 2)}
    assert train == {(number, series) for number in range(2, 10) for series in (1, 2)}
    whole, fewer = [
        [len(list(folder.glob("*.jpg"))) for folder in one.folders]
        for one in (drive, panel.stranger(faces, 10, 45, tmp_path))
    ]
    assert sum(fewer[:2]) == pytest.approx(45, abs=1)
    assert fewer[1] / fewer[0] == pytest.approx(whole[1] / whole[0], rel=0.3)
    assert fewer[2] == whole[2], "all of whom is left out"


def test_one_person_is_tested_on_the_other_series(tmp_path):
    drive = panel.person(_faces(tmp_path / "faces"), 4, tmp_path)
    assert [_shown(folder) for folder in drive.folders] == [{(4, 1)}, {(4, 1)}, {(4, 2)}]


def test_ratios_are_geometric_and_name_the_worst_drive():
    drives = {
        "a": {tables.MAIN: [1.0, 1.0, 2.0], "old recipe, head": [1.0, 1.0, 1.0]},
        "b": {tables.MAIN: [4.0, 1.0, 2.0], "old recipe, head": [1.0, 1.0, 16.0], "ridge": [1.0, 1.0, 1.0]},
    }
    lines = tables.over_drives("panel", drives).splitlines()
    assert lines[4] == "| main job | 2.00 | 1.00 | 2.00 |  |  |"
    assert lines[5] == "| old recipe, head | 1.00 | 1.00 | 4.00 | 0.50 | 2.00 (a) |"
    assert len(lines) == 6  # what only some drives have is in no mean


def test_of_a_family_the_best_on_the_test_counts():
    figures = {
        "old recipe, head": [1.0, 1.0, 5.0],
        "old recipe, all layers": [9.0, 9.0, 4.0],
        "ridge, bn=source": [0, 0, 7.0],
    }
    best = tables.with_best(figures)
    assert best[tables.OLD] == [9.0, 9.0, 4.0]
    assert best[tables.CLOSED] == [0, 0, 7.0]
    assert tables.CALIBRATED not in best


def test_seeds_are_averaged():
    assert tables.averaged([{"a": [1.0, 2.0, 3.0]}, {"a": [3.0, 2.0, 1.0]}, {"b": [1.0, 1.0, 1.0]}]) == {
        "a": pytest.approx([2.0, 2.0, 2.0]),
        "b": [1.0, 1.0, 1.0],
    }


def test_results_of_other_settings_are_not_mixed(tmp_path, monkeypatch):
    settings = {"seconds": 60.0, "samples": 500, "pairwise": False, "no_bfloat16": False}
    (tmp_path / "accuracy.json").write_text(json.dumps({"settings": settings}))
    monkeypatch.setattr(sys, "argv", ["accuracy", "--work", str(tmp_path), "--seconds", "300"])
    with pytest.raises(SystemExit, match="choose another --work"):
        command.main()


def test_a_drive_measured_before_is_printed_and_not_run_again(tmp_path, monkeypatch, capsys):
    runs = {
        "webcam: main job, seed 0": {"figures": {"main job": [1.0, 1.0, 2.0]}, "seconds": 300.0},
        "webcam: old recipe head, seed 0": {"figures": {"old recipe, head": [2.0, 2.0, 4.0]}, "seconds": 290.0},
    }
    (tmp_path / "accuracy.json").write_text(json.dumps(runs))
    chosen = ["--drives", "webcam", "--methods", "main job,old recipe head"]
    monkeypatch.setattr(sys, "argv", ["accuracy", "--work", str(tmp_path), *chosen])
    command.main()
    printed = capsys.readouterr().out
    assert "1 drives, 0 runs to do: about" in printed
    assert "| old recipe, head | 2.00 | 2.00 | 4.00 | 290 |" in printed
    assert "| old recipe, better of both | 2.00 | 2.00 | 4.00 | 0.50 | 0.50 (webcam) |" in printed
