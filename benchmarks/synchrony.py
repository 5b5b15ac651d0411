"""``python -m benchmarks.synchrony``: are labels that come late found, and are labels in step left alone?

Short drives are rendered, the driver view alone, each with its own driver, camera, light, noise and way of turning the
head; every third driver leads with the head. Of each drive the labels are written three times: in step, by −10 to +10
frames too late, and with a clock that loses 0.05 %. What the main job looks at is compared: trace, and answers of the
base at the samples, on frames away from the test blocks. An estimate counts as found when it is within a frame of the
truth – of a drift, of the offset in the middle of the drive – and "cannot tell" counts as not found.

The heads have as many triangles as those of the lab pictures, a third of the sample drive's: more are smaller than a
pixel here. The drives are kept in ``--work``; a run that was interrupted goes on where it was.
"""

import argparse
import hashlib
import shutil
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from recording import files, labels, prepared, recordings, trace
from recording.angles import pitch_yaw_to_deg
from recording.drive import Source
from recording.preparation import prepare
from recording.recordings import Recordings
from recording.trace import Trace
from training import inspection
from training.learning import model
from training.learning.answers import predict
from training.learning.cache import ActivationCache
from training.learning.trunk import dataset, features
from training.measuring import splits
from training.measuring.splits import Split
from training.measuring.synchrony import Answers, Synchrony, compare
from training.sample import film, sample_drive, tracker
from training.sample.recipe import Recipe
from training.sample.rendering.head import build
from training.sample.scene import Scene

FPS, VIEW, SAMPLES = 30, (160, 180), 200
MOST_LATE, DRIFT = 10, 5e-4
IN_STEP, LATE, DRIFTING = KINDS = ("in step", "late", "drifting")
FINENESS = 0.6
FRAMES_PER_S = 60.0
"""Rendered and encoded by one core; what is said beforehand."""


@dataclass(frozen=True)
class Drive:
    """A rendered drive and how its labels will be spoilt."""

    recipe: Recipe
    lag: int

    def spoilt(self, kind: str) -> Recipe:
        """The recipe of its labels."""
        if kind == LATE:
            return replace(self.recipe, label_lag=float(self.lag))
        return replace(self.recipe, label_drift=DRIFT) if kind == DRIFTING else self.recipe

    def truth(self, kind: str) -> float:
        """Frames by which the labels come too late in the middle of the drive."""
        return {IN_STEP: 0.0, LATE: float(self.lag), DRIFTING: DRIFT * self.recipe.seconds * FPS / 2}[kind]


def drives(count: int, seconds: float, first: int) -> list[Drive]:
    """As many drives, no two alike, numbered from ``first`` on."""
    lags = np.linspace(-MOST_LATE, MOST_LATE, count).round().astype(int) if count > 1 else [MOST_LATE]
    return [Drive(_recipe(first + number, seconds), int(lag)) for number, lag in enumerate(lags)]


def _recipe(number: int, seconds: float) -> Recipe:
    random = np.random.default_rng([16, number])
    distance = float(random.uniform(550.0, 800.0))
    return Recipe(
        seed=500 + number,
        seconds=seconds,
        fps=FPS,
        driver=500 + number,
        driver_view=VIEW,
        camera_mm=distance,
        focal=distance * float(random.uniform(0.36, 0.54)),  # the sample drive's face takes 0.47 at this height
        camera_azimuth_deg=float(random.uniform(-28.0, 12.0)),
        camera_elevation_deg=float(random.uniform(-12.0, 16.0)),
        grain=float(random.uniform(0.05, 0.2)),
        light=("day", "day", "tunnels", "night")[number % 4],
        tracker_elevation_deg=float(random.uniform(-10.0, 5.0)),
        tracker_noise_deg=float(random.uniform(0.1, 0.6)),
        head_share=float(random.uniform(0.35, 0.8)),
        head_lead_s=float(random.uniform(0.25, 0.45)) if number % 3 == 2 else 0.0,
    )


@dataclass(frozen=True)
class Prepared:
    """What does not depend on how the labels are spoilt."""

    trace: Trace
    data: Recordings
    split: Split
    pooled: np.ndarray
    base_deg: np.ndarray

    def compared(self, drive: Drive, kind: str, folder: Path) -> Synchrony:
        """What the main job would find with these labels."""
        written = folder / f"{kind.replace(' ', '-')}.csv"
        files.write_text(written, tracker.labels_text(drive.spoilt(kind)))
        count = round(drive.recipe.seconds * FPS)
        rows = labels.read(written, count, seconds=np.arange(count) / FPS).measured
        train = self.split.train
        frames, block = self.data.frames[train], self.split.block[train]
        seen = {
            "answers": Answers(frames, self.pooled[train], block),
            "base": Answers(frames, self.base_deg[train], block),
        }
        held_out = inspection.held_out(self.data, self.split, 0)
        chosen = self.data.drives[0].chosen
        seen_in = Trace(rows, self.trace.shown, self.trace.pictures)
        return compare(seen_in, FPS, held_out, seen, chosen.face if chosen else None)


def _rendered(recipe: Recipe, folder: Path) -> tuple[Path, Path]:
    """The video and the CSV of a drive; what is there already is not rendered again."""
    name = f"{recipe.seed}-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]}"
    video, table, partial = (folder / f"{name}{ending}" for ending in (".mp4", ".csv", ".part.mp4"))
    if not video.exists():
        folder.mkdir(parents=True, exist_ok=True)
        drawn = Scene(recipe)
        drawn.head = build(recipe.person(), FINENESS)
        film.encode(partial, drawn, name)
        files.write_text(table, tracker.labels_text(recipe))
        partial.rename(video)
    return video, table


def _prepared(drive: Drive, work: Path) -> Prepared:
    video, table = _rendered(drive.recipe, work / "drives")
    folder = prepare(Source(video, table, "driver"), SAMPLES, work / "prepared" / video.stem)
    data = recordings.with_faces(Recordings((prepared.load(folder),)), "auto")
    kept = trace.read(folder)
    assert kept is not None
    network, everything = model.load(sample_drive.BASE_CHECKPOINT), np.arange(len(data))
    with closing(ActivationCache(work / "cache")) as cache:
        views = dataset(data, cache, everything, np.array([], dtype=np.int64), 0)
        source = features(network, "backbone", replace(views, augmentation=None), cache, torch.device("cpu"))
        pooled = source.plain(everything).cpu().numpy()
        base_deg = pitch_yaw_to_deg(predict(model.cut(network, "backbone")[1], source, everything))
    split = splits.of("blocks", data)
    return Prepared(kept, data, split, pooled, base_deg)


def main() -> None:
    """Render what is missing, compare, print a line a drive and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("data") / "synchrony", help="for the drives (%(default)s)")
    parser.add_argument("--drives", type=int, default=40, help="how many (%(default)s)")
    parser.add_argument("--seconds", type=float, default=40.0, help="length of each (%(default)s)")
    parser.add_argument("--first", type=int, default=100, help="number of the first (%(default)s; chosen on 0 to 6)")
    given = parser.parse_args()
    chosen = drives(given.drives, given.seconds, given.first)
    minutes = given.drives * given.seconds * FPS / FRAMES_PER_S / 60
    print(f"machine: {machine()}\nabout {minutes:.0f} minutes of one core where nothing is there yet\n", flush=True)
    table = given.work / "labels"
    table.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[tuple[Drive, Synchrony]]] = {kind: [] for kind in KINDS}
    for drive in chosen:
        began, made = time.monotonic(), _prepared(drive, given.work)
        for kind in KINDS:
            found[kind].append((drive, made.compared(drive, kind, table)))
            one = found[kind][-1][1]
            print(f"{drive.recipe.seed} {kind} {drive.truth(kind):+.1f}: {one.line()}", flush=True)
        print(f"({time.monotonic() - began:.0f} s)", flush=True)
    shutil.rmtree(table)
    print("\n| labels | drives | within a frame | farther off | cannot tell | told that they are out of step |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        print(_row(kind, found[kind]))


def _row(kind: str, found: list[tuple[Drive, Synchrony]]) -> str:
    told = [(abs(one.offset - drive.truth(kind)) <= 1.0) for drive, one in found if one.is_told]
    cells = [len(found), sum(told), len(told) - sum(told), len(found) - len(told)]
    loud = sum(one.out_of_step for _, one in found)
    return f"| {kind} | {' | '.join(map(str, cells))} | {loud} |"


if __name__ == "__main__":
    main()
