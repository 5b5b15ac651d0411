"""The drives of the panel, as prepared folders and the split that cuts them."""

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from recording import preparation, recordings
from recording.recordings import Recordings
from training.measuring import splits
from training.measuring.splits import Split
from training.sample import sample_drive

VALIDATION_EVERY = 6  # of the photographs of series 1, one in so many validates


@dataclass(frozen=True)
class Drive:
    """One entry of the panel."""

    name: str
    folders: tuple[Path, ...]
    split: str

    def load(self) -> tuple[Recordings, Split]:
        """Its samples, and which of them train, validate and test."""
        data = recordings.load(self.folders)
        return data, splits.split(self.split, data.frames, data.drives[0].fps, data.drive_index, 0)


def person(faces: Path, number: int, work: Path) -> Drive:
    """One person of the real photographs: three bare folders, cut by ``split=by-drive``."""
    parts = {part: work / f"person{number:02d}" / part for part in ("1-train", "2-validation", "3-test")}
    for folder in parts.values():
        folder.mkdir(parents=True, exist_ok=True)
    with (faces / "labels.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if int(row["person"]) == number]
    for at, row in enumerate(rows):
        part = "1-train" if at % VALIDATION_EVERY else "2-validation"
        folder = parts["3-test" if row["series"] == "2" else part]
        stem = f"frame_{at:05d}"
        shutil.copyfile(faces / "images" / row["image"], folder / f"{stem}_driver.jpg")
        truth = {"azimuth_deg": float(row["azimuth [deg]"]), "elevation_deg": float(row["elevation [deg]"])}
        (folder / f"{stem}_gt.json").write_text(json.dumps(truth))
    return Drive(f"person {number}", tuple(parts.values()), "by-drive")


def rendered(seed: int, seconds: float, samples: int, work: Path) -> Drive:
    """A sample drive rendered with this seed."""
    video, labels = sample_drive.render(work / "drives", seed=seed, seconds=seconds)
    folder = preparation.prepare(video, labels, samples, "dashgaze", work / f"seed{seed}-{seconds:g}s-{samples}")
    return Drive(f"rendered, seed {seed}", (folder,), "blocks")
