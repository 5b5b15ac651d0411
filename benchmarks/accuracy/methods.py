"""One method on one drive, in a process of its own: ``python -m benchmarks.accuracy.methods METHOD …`` (by the panel).

Each takes a drive and answers with figures: a name and its errors on the held-out part (azimuth, elevation and 3-D, in
degrees), and the seconds that training took.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import torch

from benchmarks import old_recipe
from benchmarks.accuracy.panel import Drive
from recording.angles import pitch_yaw_to_deg
from training.learning import batchnorm, closed_form, model
from training.learning.answers import predict
from training.learning.cache import ActivationCache
from training.learning.trunk import dataset, features
from training.measuring import baselines
from training.measuring.errors import per_sample
from training.sample import sample_drive

CPU = torch.device("cpu")
Figures = dict[str, list[float]]


def closed_forms(drive: Drive) -> Figures:
    """Constant, calibrations and heads in closed form, fitted on what the registered model is trained on."""
    data, split = drive.load()
    truth, targets, train = data.labels_deg, data.targets, split.final
    answers = {"constant": baselines.fit_constant(truth[train]).predict(len(split.test))}
    cache = ActivationCache(drive.folders[0].parent / "cache")
    samples = dataset(data, cache, train, split.test, 0)
    for bn in batchnorm.BN_CHOICES:
        for method in closed_form.METHODS:
            network = model.load(sample_drive.BASE_CHECKPOINT)
            if bn == "target":
                batchnorm.adapt(network, samples.pictures, train, CPU)
            source = features(network, "backbone", samples, cache, CPU)
            tail = model.cut(network, "backbone")[1]
            if method == "affine":
                base = {part: pitch_yaw_to_deg(predict(tail, source, rows)) for part, rows in _parts(train, split.test)}
                line = baselines.fit_calibration(base["train"], truth[train])
                answers[f"linear calibration, bn={bn}"] = line.predict(base["test"])
            closed_form.install(method, network, source, targets, train, split.block)
            answers[f"{method}, bn={bn}"] = pitch_yaw_to_deg(predict(tail, source, split.test))
    cache.close()
    return {name: errors(answer, truth[split.test]) for name, answer in answers.items()}


def _parts(train: np.ndarray, test: np.ndarray) -> tuple[tuple[str, np.ndarray], ...]:
    return ("train", train), ("test", test)


def old(drive: Drive, seconds: float, seed: int, *, frozen: bool) -> Figures:
    """The old recipe's own random 80/20 of the same samples, and its own choice of the epoch."""
    data, split = drive.load()
    order = np.random.default_rng(seed).permutation(split.final)
    cut = round(0.8 * len(order))
    torch.manual_seed(seed)
    network = model.load(sample_drive.BASE_CHECKPOINT)
    old_recipe.train(network, data, order[:cut], order[cut:], 1000, frozen, seconds)
    answers = pitch_yaw_to_deg(old_recipe.predict(network, data, split.test))
    name = "old recipe, head" if frozen else "old recipe, all layers"
    return {name: errors(answers, data.labels_deg[split.test])}


def main_job(drive: Drive, seconds: float, seed: int, code: Path, place: Path) -> tuple[Figures, float]:
    """The main job of the checkout ``code``, which gets these seconds; errors as it
    logs them, and the seconds from the first activation to the network that is registered."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    uri = f"sqlite:///{place.resolve() / 'mlflow.db'}"
    folders = ",".join(str(folder.resolve()) for folder in drive.folders)
    command = [sys.executable, "-m", "training", "main", "--data", folders, "--split", drive.split]
    command += ["--timeout", f"{seconds:g}", "--seed", str(seed), "--device", "cpu"]  # as the old recipe
    env = os.environ | {"PYTHONPATH": str(code.resolve()), "MLFLOW_TRACKING_URI": uri}
    with (place / "log").open("wb") as log:
        subprocess.run(command, cwd=place, env=env, stdout=log, stderr=subprocess.STDOUT, check=True)
    mlflow.set_tracking_uri(uri)
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    (parent,) = [run for run in runs if "verdict" in run.data.tags]
    found = parent.data.metrics
    spent = sum(found.get(f"seconds/{part}", 0.0) for part in ("cache", "labels", "trials", "final"))
    return {"": [found[f"test/{angle}_error_deg"] for angle in ("azimuth", "elevation", "angular")]}, spent


def errors(answers_deg: np.ndarray, truth_deg: np.ndarray) -> list[float]:
    """Mean azimuth, elevation and 3-D error of (n, 2) answers, degrees."""
    return [float(error) for error in per_sample(answers_deg, truth_deg).mean(axis=0)]


def main() -> None:
    """Run one method and write ``{figures, seconds}``."""
    given = _arguments()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    drive = Drive(given.drive, tuple(map(Path, given.folders)), given.split)
    began, spent = time.perf_counter(), None
    if given.method == "closed forms":
        figures = closed_forms(drive)
    elif given.method.startswith("old recipe"):
        figures = old(drive, given.seconds, given.seed, frozen=given.method == "old recipe head")
    else:
        figures, spent = main_job(drive, given.seconds, given.seed, Path(given.code), Path(given.out).parent / "job")
        figures = {given.method: figures.popitem()[1]}
    spent = time.perf_counter() - began if spent is None else spent
    Path(given.out).write_text(json.dumps({"figures": figures, "seconds": spent}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One method on one drive.")
    parser.add_argument("method")
    parser.add_argument("--drive", required=True)
    parser.add_argument("--folders", nargs="+", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--code", required=True, help="checkout whose main job runs")
    parser.add_argument("--core", type=int, help="the one core to run on")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
