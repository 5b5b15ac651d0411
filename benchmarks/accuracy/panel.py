"""The drives of the panel, as prepared folders and the split that cuts them.

Choices are made on one part of the panel and confirmed on the other, which nothing was tuned on.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recording import preparation, recordings, sample_files
from recording.drive import Source
from recording.face import AUTO
from recording.recordings import Recordings
from training.measuring import splits
from training.measuring.splits import Split
from training.sample import sample_drive
from training.sample.recipe import Recipe

CHOICE, CONFIRMATION = "choice", "confirmation"
VALIDATION_EVERY = 6  # of the photographs of series 1, one in so many validates
PEOPLE = range(1, 11)
CHOICE_PEOPLE = range(1, 6)

RECIPES = {
    # chosen on
    "pillar": Recipe(
        seed=11, seconds=72, fps=8, driver=301, camera_azimuth_deg=-24, camera_elevation_deg=12, camera_mm=640,
        focal=614, driver_view=(320, 360),
    ),
    "webcam": Recipe(
        seed=12, seconds=60, fps=10, driver=302, camera_azimuth_deg=3, camera_elevation_deg=-6, camera_mm=750,
        focal=500, driver_view=(400, 300), grain=0.15, tracker_elevation_deg=0,
    ),
    "console-night": Recipe(
        seed=13, seconds=76, fps=8, driver=303, camera_azimuth_deg=24, camera_elevation_deg=-10, camera_mm=700,
        focal=588, driver_view=(360, 270), grain=0.3, light="night", tracker_azimuth_deg=2, tracker_elevation_deg=-4,
    ),
    "mirror-head-first": Recipe(
        seed=14, seconds=64, fps=10, driver=304, camera_azimuth_deg=26, camera_elevation_deg=10, camera_mm=620,
        focal=529, driver_view=(320, 320), tracker_elevation_deg=-12, head_share=0.85, head_lead_s=0.3,
    ),
    # confirmed on
    "cluster-close": Recipe(
        seed=15, seconds=61, fps=15, driver=305, camera_azimuth_deg=0, camera_elevation_deg=-12, camera_mm=500,
        focal=620, driver_view=(300, 300), tracker_azimuth_deg=-3, tracker_elevation_deg=5,
    ),
    "roof-tunnels": Recipe(
        seed=16, seconds=80, fps=8, driver=306, camera_azimuth_deg=10, camera_elevation_deg=18, camera_mm=800,
        focal=500, driver_view=(426, 240), light="tunnels", tracker_elevation_deg=-6,
    ),
    "pillar-night": Recipe(
        seed=17, seconds=100, fps=6, driver=307, camera_azimuth_deg=-30, camera_elevation_deg=8, camera_mm=760,
        focal=567, driver_view=(400, 300), grain=0.25, light="night", tracker_azimuth_deg=4, tracker_elevation_deg=-10,
    ),
    "webcam-30": Recipe(
        seed=18, seconds=60, fps=30, driver=308, camera_azimuth_deg=-8, camera_elevation_deg=-4, camera_mm=680,
        focal=435, driver_view=(320, 240), tracker_elevation_deg=2,
    ),
}  # fmt: skip
"""Rendered drives that differ in driver, camera place, zero, face size, light, frame rate and length."""
CHOICE_RECIPES = tuple(RECIPES)[:4]


@dataclass(frozen=True)
class Drive:
    """One entry of the panel."""

    name: str
    folders: tuple[Path, ...]
    split: str

    def load(self) -> tuple[Recordings, Split]:
        """Its samples, cut to the face as the main job cuts them, and which of them train, validate and test."""
        data = recordings.with_faces(recordings.load(self.folders), AUTO)
        return data, splits.of(self.split, data)


@dataclass(frozen=True)
class Entry:
    """A drive that may still have to be made."""

    name: str
    part: str
    make: Callable[[Path], Drive]
    """Makes it in a working folder."""
    frames: int = 0
    """Frames to render."""


def entries(
    names: Iterable[str], people: Iterable[int], left_out: Iterable[int], faces: Path, samples: int
) -> list[Entry]:
    """The panel's entries of these recipes and people; ``left_out``: people who are tested on while others train."""
    found = []
    for name in names:
        recipe = RECIPES[name]
        part = CHOICE if name in CHOICE_RECIPES else CONFIRMATION
        found.append(Entry(name, part, partial(rendered, name, samples), round(recipe.seconds * recipe.fps)))
    for number in people:
        found.append(Entry(f"person {number}", _part(number), partial(person, faces, number)))
    for number in left_out:
        found.append(Entry(f"person {number} left out", _part(number), partial(stranger, faces, number, samples)))
    return found


def _part(number: int) -> str:
    return CHOICE if number in CHOICE_PEOPLE else CONFIRMATION


def rendered(name: str, samples: int, work: Path) -> Drive:
    """The drive of that recipe, rendered and prepared where it is not there yet."""
    recipe = RECIPES[name]
    video, labels = sample_drive.render_recipe(work / "drives", recipe)
    folder = preparation.prepare(
        Source(video, labels, recipe.layout()), samples, work / f"{video.parent.name}-{samples}"
    )
    return Drive(name, (folder,), "blocks")


def person(faces: Path, number: int, work: Path) -> Drive:
    """One person of the real photographs: series 1 trains and validates, series 2 tests."""
    rows = _photographs(faces, {number})
    first = [row for row in rows if row["series"] == "1"]
    parts = {
        "1-train": [row for at, row in enumerate(first) if at % VALIDATION_EVERY],
        "2-validation": first[::VALIDATION_EVERY],
        "3-test": [row for row in rows if row["series"] == "2"],
    }
    return _photographed(f"person {number}", faces, parts, work / f"person{number:02d}")


def stranger(faces: Path, number: int, samples: int, work: Path) -> Drive:
    """Both series of one person test what was trained on eight others; one more validates. ``samples``: of those that
    train and validate, so many at most, spread evenly."""
    validating = number % len(PEOPLE) + 1
    others = set(PEOPLE) - {number, validating}
    wanted = {"1-train": others, "2-validation": {validating}, "3-test": {number}}
    parts = {part: _photographs(faces, people) for part, people in wanted.items()}
    share = min(1.0, samples / (len(parts["1-train"]) + len(parts["2-validation"])))
    for part in ("1-train", "2-validation"):
        rows = parts[part]
        kept = round(share * len(rows))
        parts[part] = [rows[at * len(rows) // kept] for at in range(kept)]
    name = f"person {number} left out"
    return _photographed(name, faces, parts, work / f"person{number:02d}-left-out-{samples}")


def _photographs(faces: Path, people: set[int]) -> list[dict[str, str]]:
    with (faces / "labels.csv").open(newline="") as table:
        return [row for row in csv.DictReader(table) if int(row["person"]) in people]


def _photographed(name: str, faces: Path, parts: dict[str, list[dict[str, str]]], folder: Path) -> Drive:
    """Bare folders of these photographs, cut by ``split=by-drive``: the last one tests."""
    for part, rows in parts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        for at, row in enumerate(rows):
            stem = folder / part / f"frame_{at:05d}"
            shutil.copyfile(faces / "images" / row["image"], f"{stem}{sample_files.DRIVER}")
            truth = {"azimuth_deg": float(row["azimuth [deg]"]), "elevation_deg": float(row["elevation [deg]"])}
            Path(f"{stem}{sample_files.TRUTH}").write_text(json.dumps(truth))
    return Drive(name, tuple(folder / part for part in parts), "by-drive")
