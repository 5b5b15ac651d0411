"""``python -m benchmarks.label_frame``: are angles from the head told from angles from the car, by the labels alone?

Tracks of drives no two of which are alike are written as CSV, once with angles from the head and once from the car, and
read as ``prepare`` reads them. Nothing is drawn: :mod:`recording.label_frame` looks at no picture.
"""

import argparse
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from recording import label_frame, labels
from recording.relative_to import CAR, HEAD, UNKNOWN
from training.sample import tracker
from training.sample.recipe import Recipe

LENGTHS = ((3, 60), (3, 120), (3, 380), (5, 120), (10, 60), (15, 60), (30, 40), (30, 60))
"""Frames a second, and seconds."""
CHOSEN_ON, CONFIRMED_ON = 0, 1000
"""First seeds: of the drives that the rule was chosen on, and of those that show that it holds."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drives", type=int, default=40, help="of each length and kind (%(default)s)")
    parser.add_argument("--first", type=int, default=CONFIRMED_ON, help="seed (%(default)s; chosen on 0 and up)")
    given = parser.parse_args()
    print("| frames a second, length | from the head: recognised | not told | from the car: accused | not told |")
    print("|---|---|---|---|---|")
    for fps, seconds in LENGTHS:
        head, car = (
            Counter(_found(_recipe(given.first + number, fps, seconds, kind)) for number in range(given.drives))
            for kind in (HEAD, CAR)
        )
        cells = [f"{head[HEAD]} of {given.drives}", head[UNKNOWN], car[HEAD], car[UNKNOWN]]
        print(f"| {fps}, {seconds} s | {' | '.join(map(str, cells))} |", flush=True)


def _recipe(seed: int, fps: int, seconds: int, kind: str) -> Recipe:
    random = np.random.default_rng([77, seed])
    return Recipe(
        seed=2000 + seed,
        fps=fps,
        seconds=seconds,
        head_share=float(random.uniform(0.35, 0.8)),
        head_lead_s=float(random.choice([0, 0, random.uniform(0.1, 0.45)])),
        tracker_noise_deg=float(random.uniform(0.1, 1.0)),
        tracker_elevation_deg=float(random.uniform(-10, 5)),
        labels_in_head=kind == HEAD,
    )


def _found(recipe: Recipe) -> str:
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "labels.csv"
        path.write_text(tracker.labels_text(recipe), encoding="utf-8")
        count = round(recipe.fps * recipe.seconds)
        read = labels.read(path, count, seconds=np.arange(count) / recipe.fps)
    return label_frame.find(read.table, read.measured, recipe.fps).relative_to


if __name__ == "__main__":
    main()
