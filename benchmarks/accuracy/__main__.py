"""The command: see :mod:`benchmarks.accuracy`."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import torch

from benchmarks import old_recipe
from benchmarks.accuracy import panel
from benchmarks.accuracy.panel import Drive
from benchmarks.machine import machine
from recording.angles import pitch_yaw_to_deg
from training.learning import batchnorm, closed_form, model
from training.learning.cache import ActivationCache
from training.learning.finetune import predict
from training.learning.trunk import dataset, features
from training.measuring import baselines
from training.measuring.errors import per_sample
from training.sample import sample_drive

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
Figures = dict[str, list[float]]


def main() -> None:
    given = _arguments()
    work = Path(given.work)
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "accuracy.json"
    drives: list[Callable[[], Drive]] = [
        partial(panel.person, Path(given.faces), number, work) for number in _numbers(given.people)
    ]
    drives += [partial(panel.rendered, seed, given.length, given.samples, work) for seed in _numbers(given.seeds)]
    print(f"machine: {machine()}")
    print(
        f"{len(drives)} drives, {given.seconds:g} s a method: about {len(drives) * 3.5 * given.seconds / 60:.0f} min\n"
    )
    results: dict[str, Figures] = json.loads(kept.read_text()) if kept.exists() else {}
    for make in drives:
        drive = make()
        methods: dict[str, Callable[[], Figures]] = {
            "closed forms": partial(_closed_forms, drive),
            "old recipe head": partial(_old, drive, given.seconds, frozen=True),
            "old recipe all layers": partial(_old, drive, given.seconds, frozen=False),
            "main job": partial(_main_job, drive, given.seconds, work),
        }
        for name in filter(None, given.methods.split(",")):
            key = f"{drive.name}: {name}"
            if key not in results:
                results[key] = methods[name]()
                kept.write_text(json.dumps(results, indent=1))
        _print(drive.name, {k: v for k, v in results.items() if k.startswith(f"{drive.name}: ")})


def _closed_forms(drive: Drive) -> Figures:
    """Constant, affine map and ridge, fitted on what the registered model is trained on."""
    data, split = drive.load()
    truth, targets, train = data.labels_deg, data.targets, split.final
    constant = baselines.fit_constant(truth[train]).predict(len(split.test))
    figures = {"constant": _errors(constant, truth[split.test])}
    cache = ActivationCache(drive.folders[0].parent / "cache")
    samples = dataset(data, cache, train, split.test, 0)
    for bn in batchnorm.BN_CHOICES:
        for method in ("affine", "ridge"):
            network = model.load(sample_drive.BASE_CHECKPOINT)
            if bn == "target":
                batchnorm.adapt(network, samples.pictures, train, CPU)
            source = features(network, "backbone", samples, cache, CPU)
            closed_form.install(method, network, source, targets, train, split.block)
            answers = predict(model.cut(network, "backbone")[1], source, split.test)
            figures[f"{method}, bn={bn}"] = _errors(pitch_yaw_to_deg(answers), truth[split.test])
    cache.close()
    return figures


def _old(drive: Drive, seconds: float, *, frozen: bool) -> Figures:
    """The old recipe's own random 80/20 of the same samples, and its own choice of the epoch."""
    data, split = drive.load()
    order = np.random.default_rng(0).permutation(split.final)
    cut = round(0.8 * len(order))
    torch.manual_seed(0)
    network = model.load(sample_drive.BASE_CHECKPOINT)
    old_recipe.train(network, data, order[:cut], order[cut:], 1000, frozen, seconds)
    answers = old_recipe.predict(network, data, split.test)
    name = "old recipe, head" if frozen else "old recipe, all layers"
    return {name: _errors(pitch_yaw_to_deg(answers), data.labels_deg[split.test])}


def _main_job(drive: Drive, seconds: float, work: Path) -> Figures:
    """The main job with the same seconds for search and final training; figures as it logs them."""
    place = work / "job"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    uri = f"sqlite:///{place.resolve() / 'mlflow.db'}"
    folders = ",".join(str(folder.resolve()) for folder in drive.folders)
    command = [sys.executable, "-m", "training", "main", "--data", folders, "--split", drive.split]
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": uri}
    with (place / "log").open("wb") as log:
        subprocess.run(
            [*command, "--timeout", f"{seconds:g}"],
            cwd=place,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )
    mlflow.set_tracking_uri(uri)
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    (parent,) = [run for run in runs if "verdict" in run.data.tags]
    angles = ("azimuth", "elevation", "angular")
    return {"main job": [parent.data.metrics[f"test/{angle}_error_deg"] for angle in angles]}


def _errors(answers_deg: np.ndarray, truth_deg: np.ndarray) -> list[float]:
    return [float(error) for error in per_sample(answers_deg, truth_deg).mean(axis=0)]


def _print(name: str, found: dict[str, Figures]) -> None:
    print(f"## {name}\n\n| | azimuth | elevation | 3-D |\n|---|---|---|---|")
    for figures in found.values():
        for method, errors in figures.items():
            print(f"| {method} | " + " | ".join(f"{error:.2f}" for error in errors) + " |")
    print(flush=True)


def _numbers(text: str) -> list[int]:
    """``1-3,7`` → 1, 2, 3, 7."""
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Errors of the main job beside what it has to beat.")
    parser.add_argument("--faces", default="../shared/real_faces", help="folder of the real photographs")
    parser.add_argument("--people", default="", help="which people of them: 1-5 or 1,3")
    parser.add_argument("--seeds", default="", help="seeds of rendered drives")
    parser.add_argument("--length", type=float, default=80.0, help="seconds of a rendered drive (80)")
    parser.add_argument("--samples", type=int, default=500, help="samples of a rendered drive (500)")
    parser.add_argument("--seconds", type=float, default=300.0, help="of each method (300)")
    parser.add_argument("--work", default="data/accuracy", help="where drives and results go (data/accuracy)")
    methods = "closed forms,old recipe head,old recipe all layers,main job"
    parser.add_argument("--methods", default=methods, help=f"some of {methods}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
