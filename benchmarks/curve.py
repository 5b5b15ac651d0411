"""``python -m benchmarks.curve``: do forecasts of learning curves hold, and are floors told from slow falls?

Drives are rendered, the driver view alone, each with its own driver, camera and light, and prepared once. Each is
measured with its labels as they are; with noise added to every row of them, which no number of samples takes away; and
without any floor: with labels that a ridge head on the very features answers, solved on everything, so that a head of
that kind lacks nothing but samples. (As they are, errors have the frozen backbone's own floor.) Only labels differ, so
all share the activations. The trainings, the fit and what may be said are those of ``mlflow run . -e curve``, with a
ridge head and its default sizes:

- of 500 samples (62 to 500): does the forecast cover what is then measured at 1,000?
- of 1,000 samples (125 to 1,000): does it say that more of the same will not help, with a floor and without?

``choice`` are drives that the rules may be mended on, ``confirmation`` those that are reported. Drives, activations and
trainings are kept in ``--work``; a run that was interrupted goes on where it was.
"""

import argparse
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import numpy as np
from tqdm import tqdm

from benchmarks.machine import machine
from recording import preparation
from recording.angles import pitch_yaw_to_deg
from recording.drive import Source
from recording.recordings import Recordings
from registry.intervals import Floats
from training import bases, checkpoints, curve, job
from training.chosen import Chosen
from training.config import CurveConfig
from training.context import Job
from training.learning import closed_form
from training.learning.cache import ActivationCache
from training.learning.finetune import TrialConfig
from training.learning.trunk import dataset, features
from training.measuring import learning_curve
from training.measuring.learning_curve import Forecast, Measured, Outlook
from training.points import Trainings
from training.sample import sample_drive
from training.sample.recipe import Recipe

SAMPLES, FORECAST_FROM = 1000, 500
SIZES = (62, 125, 250, 500, 1000)
NOISE_DEG = 4.0
"""Standard deviation of what is added to both angles: a floor of 5° in the 3-D error."""
AS_IT_IS, NOISY, TAUGHT = KINDS = ("as they are", "with noise", "without floor")
CONFIGURATION = TrialConfig("backbone", "source", 2e-4, 5, head="ridge")
"""Of the search's opening trials the first one with the base's own statistics."""
SECONDS_A_DRIVE = 180.0
"""On one core, rendering included; what is said beforehand."""
VIEW = (200, 200)
FRAMES = 1200
CHOICE, CONFIRMATION = PARTS = ("choice", "confirmation")
COUNTS = {CHOICE: 3, CONFIRMATION: 5}


def recipes(part: str) -> list[Recipe]:
    """The drives of one part; no two alike."""
    first = 0 if part == CHOICE else COUNTS[CHOICE]
    return [_recipe(number) for number in range(first, first + COUNTS[part])]


def _recipe(number: int) -> Recipe:
    random = np.random.default_rng([18, number])
    distance, fps = float(random.uniform(560.0, 780.0)), (3, 2, 4)[number % 3]
    return Recipe(
        seed=900 + number,
        seconds=FRAMES / fps,
        fps=fps,
        driver=900 + number,
        driver_view=VIEW,
        camera_mm=distance,
        focal=distance * float(random.uniform(0.5, 0.75)),  # a face takes 75 to 112 of 200 pixels
        camera_azimuth_deg=float(random.uniform(-26.0, 14.0)),
        camera_elevation_deg=float(random.uniform(-10.0, 14.0)),
        grain=float(random.uniform(0.05, 0.2)),
        light=("day", "tunnels", "day", "night")[number % 4],
        tracker_elevation_deg=float(random.uniform(-10.0, 5.0)),
        head_share=float(random.uniform(0.4, 0.75)),
    )


@dataclass(frozen=True)
class Told:
    """What the curve of one drive said, and what came of it."""

    forecast: Forecast
    """Of the sizes up to :data:`FORECAST_FROM`."""
    measured_deg: float
    """At :data:`SAMPLES`."""
    whole: Forecast
    """Of the sizes that the command takes for :data:`SAMPLES`."""

    @property
    def covered(self) -> bool:
        """Whether the forecast's interval holds what was measured."""
        expected = self.forecast.at(SAMPLES)
        return expected.low <= self.measured_deg <= expected.high

    @property
    def given_up(self) -> bool:
        """Whether the whole curve says that more of the same will not help."""
        return self.whole.outlook == Outlook.WILL_NOT_HELP


def told(measured: Measured) -> Told:
    """What the command would say of the first and of all of these sizes."""
    few, many = part_of(measured, SIZES[0], FORECAST_FROM), part_of(measured, SIZES[1], SAMPLES)
    return Told(learning_curve.forecast(few), float(measured.means[-1]), learning_curve.forecast(many))


def part_of(measured: Measured, smallest: int, largest: int) -> Measured:
    """The same without the sizes beyond these."""
    kept = np.flatnonzero((measured.sizes >= smallest) & (measured.sizes <= largest))
    return Measured(measured.sizes[kept], tuple(measured.errors_deg[k] for k in kept), measured.weights)


def noisy(data: Recordings, degrees: float, seed: int) -> Recordings:
    """The same pictures, normal noise added to both angles of every row."""
    noise = np.random.default_rng([seed, 1]).standard_normal((len(data), 2))
    return _labelled(data, data.labels_deg + degrees * noise)


def taught(work: Job) -> Recordings:
    """The same pictures, labelled by a ridge head on their features, solved on all that train, validate and test."""
    samples, split, data = work.samples, work.split, work.recordings
    tested = replace(samples, train=split.train[:0], validation=split.test, augmentation=None)
    parts = ((samples, np.concatenate([split.train, split.validation])), (tested, split.test))
    pooled = [
        features(work.base.network, "backbone", part, work.cache, work.device).plain(indices).cpu().numpy()
        for part, indices in parts
    ]
    shown, inputs = np.concatenate([indices for _, indices in parts]), np.concatenate(pooled)
    head = closed_form.solve("ridge", inputs, data.targets[shown], split.block[shown])
    angles = data.labels_deg.copy()
    angles[shown] = pitch_yaw_to_deg(head.predict(inputs))
    return _labelled(data, angles)


def _labelled(data: Recordings, angles: Floats) -> Recordings:
    """One drive with other labels, (n, 2) degrees.

    Its digest stays: pictures and activations are found again under it, and nobody else is to see these labels.
    """
    (drive,) = data.drives
    table = drive.table.assign(azimuth_deg=angles[:, 0], elevation_deg=angles[:, 1])
    return replace(data, drives=(replace(drive, table=table),))


def main() -> None:
    """Measure, print one row a drive and kind, and how often the claims held."""
    given = _arguments()
    work = Path(given.work)
    work.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{work.resolve() / 'mlflow.db'}")
    parts = PARTS if given.part == "both" else (given.part,)
    print(f"machine: {machine()}\n{sum(COUNTS[part] for part in parts)} drives, about {SECONDS_A_DRIVE / 60:.0f} min")
    for part in parts:
        print(f"\n## {part}\n\n{HEADING}", flush=True)
        found: dict[str, list[Told]] = {kind: [] for kind in KINDS}
        for number, recipe in enumerate(recipes(part), start=1):
            for kind, measured in _measured(recipe, given.repeats, work).items():
                found[kind].append(told(measured))
                print(row(f"{part} {number}", kind, measured, found[kind][-1]), flush=True)
        print(summary(found), flush=True)


HEADING = (
    "| drive | labels | " + " | ".join(f"{size:,}" for size in SIZES) + " | forecast for 1,000 from ≤ 500 | covered | "
    "said of ≤ 500 | said of ≤ 1,000 | twice would bring |\n|" + "---|" * (7 + len(SIZES))
)


def row(name: str, kind: str, measured: Measured, said: Told) -> str:
    """One line of the table."""
    gain = said.whole.gain()
    cells = [f"{error:.2f}" for error in measured.means]
    cells += [said.forecast.at(SAMPLES).describe(), "yes" if said.covered else "**no**", str(said.forecast.outlook)]
    cells += [str(said.whole.outlook), f"{gain.value:.0%} [{gain.low:.0%} to {gain.high:.0%}]"]
    return f"| {name} | {kind} | {' | '.join(cells)} |"


def summary(found: dict[str, list[Told]]) -> str:
    """How often each claim held."""
    lines = [""]
    for kind, drives in found.items():
        printed = [one for one in drives if one.forecast.outlook != Outlook.CANNOT_TELL]
        lines.append(
            f"{kind}: the forecast from ≤ 500 covers what is measured at 1,000 on {sum(one.covered for one in drives)} "
            f"of {len(drives)} drives (of the {len(printed)} on which it is printed: "
            f"{sum(one.covered for one in printed)}); more of the same will not help, it says on "
            f"{sum(one.given_up for one in drives)} of {len(drives)}"
        )
    return "\n".join(lines)


def _measured(recipe: Recipe, repeats: int, work: Path) -> dict[str, Measured]:
    """Errors at all sizes, for each kind of labels."""
    video, labels = sample_drive.render_recipe(work / "drives", recipe)
    name = video.parent.name
    folder = preparation.prepare(Source(video, labels, "driver"), SAMPLES, work / "prepared" / name)
    config = CurveConfig(data=str(folder), freeze="backbone", bn="source", repeats=repeats, work=str(work))
    as_it_is = job.prepare_data(config.job())
    base, split = checkpoints.load_base(""), job.split_of(config.job(), as_it_is)
    found = {}
    with closing(ActivationCache(work / "cache")) as cache:
        used = dataset(as_it_is, cache, split.train, split.validation, config.seed)
        labelled = Job(config.job(), name, "", base, as_it_is, split, used, cache, ())
        kinds = (as_it_is, noisy(as_it_is, NOISE_DEG, recipe.seed), taught(labelled))
        for kind, data in zip(KINDS, kinds, strict=True):
            with mlflow.start_run(run_name=f"{name}, {kind}") as run, tempfile.TemporaryDirectory(dir=work) as scratch:
                mine = replace(labelled, run_id=run.info.run_id, recordings=data)
                starts = bases.prepare(mine, Path(scratch))
                kept = work / "curves" / f"{name}-{kind.replace(' ', '-')}"
                kept.mkdir(parents=True, exist_ok=True)
                trainings = Trainings(mine, starts, CONFIGURATION, kept, name)
                plans = curve.plans(config, mine, Chosen(CONFIGURATION, "this file"), SIZES)
                points = [trainings.known(one) or trainings.run(one) for one in tqdm(plans, f"{name}, {kind}")]
            found[kind] = curve.measured(mine, [one for one in points if one is not None])
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How often forecasts of learning curves hold on rendered drives.")
    parser.add_argument("--part", default=CONFIRMATION, choices=(*PARTS, "both"), help="which drives (confirmation)")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of each size (3)")
    parser.add_argument("--work", default="data/curve", help="where drives, activations and trainings go (data/curve)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
