"""``pretrain`` on MPIIFaceGaze: read, check, train and judge by persons, register the base, on one run."""

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import torch
from torch import nn

from recording import files
from recording.exceptions import InputError
from recording.pictures import Picture
from registry.intervals import Floats
from registry.registration import check as check_registration
from training import checkpoints, tracking, workplace
from training.checkpoints import Base
from training.config import PretrainConfig, choose_device
from training.learning import model
from training.orphans import alone
from training.pretraining import conventions, dataset, fitting, registration, splits, table
from training.pretraining.dataset import LAYOUTS, Dataset
from training.pretraining.faces import Faces
from training.pretraining.fitting import Epoch, Pictures, Recipe
from training.pretraining.splits import Fold
from training.pretraining.table import Judged
from training.reporting import figures
from training.sample.sample_drive import BASE_CHECKPOINT

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trained:
    """One fold's network and its answers to the persons that it was not trained on."""

    fold: Fold
    network: nn.Module
    judged: Mapping[str, Judged]


def run(config: PretrainConfig) -> int:
    """The whole job; returns 0. Prints the table of persons and what was registered.

    Killed and started again with the same parameters it goes on after the last whole epoch. Raises
    :class:`~recording.exceptions.GazeError` for whatever the user can mend.
    """
    device, work = choose_device(config.device), Path(config.work)
    with tracking.tracked_run("pretrain") as run_id:
        tracking.log_parameters(asdict(config))
        mlflow.set_tag("git_commit", tracking.git_commit())
        workplace.check(work, "pretraining/faces", "pretraining/unfinished")
        _check_export(config.export)
        check_registration(config.model_name, run_id)
        start = checkpoints.load_base(config.base) if config.base else None
        data = dataset.read(Path(config.dataset), work / "pretraining" / "faces")
        people = {one.name: one.faces for one in data.people}
        conventions.check(people, f"dataset={config.dataset}", _lab_base(device))
        _log_data(data)
        folds = splits.folds(data.names, config.held_out, config.folds == "persons")
        rate = fitting.RATE_FROM_A_BASE if start else fitting.RATE_FROM_SCRATCH
        recipe = Recipe(config.epochs, rate, config.seed)
        key = _key(data, recipe, start, folds)
        unfinished = work / "pretraining" / "unfinished" / key
        with alone(unfinished, run_id, "pretraining", key, "is at this very training"):
            first = _train(data, folds[0], recipe, start, device, unfinished, "fold/" * (len(folds) > 1))
            judged = dict(first.judged)
            for fold in folds[1:]:  # only their answers are kept: a network a person would fill the memory
                judged |= _train(data, fold, recipe, start, device, unfinished, "fold/").judged
        shown = table.per_person(dict(sorted(judged.items())))
        _report(shown, data, config)
        version = registration.register(config, data, first.fold, first.network, first.judged, start, run_id)
        if config.export:
            _export(first.network, Path(config.export))
            print(f"exported: {config.export}")
        print(table.describe(shown))
        print(version)
    shutil.rmtree(unfinished, ignore_errors=True)
    return 0


def _train(
    data: Dataset, fold: Fold, recipe: Recipe, start: Base | None, device: str, unfinished: Path, prefix: str
) -> Trained:
    """Train on one fold and answer for the persons that it leaves out."""
    by_name = {one.name: one.faces for one in data.people}
    name = f"{prefix}{fold.name}/" if prefix else ""
    log.info("training on %s; not on %s", ", ".join(fold.train), ", ".join(fold.held_out))

    def heard(epoch: Epoch) -> None:
        mlflow.log_metrics(epoch.metrics(name), step=epoch.number)

    torch.manual_seed(recipe.seed)
    network = model.build()
    if start is not None:
        network.load_state_dict(start.network.state_dict())
    held_out = [by_name[one] for one in fold.held_out]
    trained_on = [by_name[one] for one in fold.train]
    checkpoint = unfinished / f"{hashlib.sha256(fold.name.encode()).hexdigest()[:16]}.pt"
    fitting.fit(network, trained_on, held_out, recipe, device, checkpoint, heard)
    constant = np.concatenate([faces.gaze for faces in trained_on]).mean(axis=0)
    judged = {
        one: Judged(fitting.predict(network, Pictures([by_name[one]]), device), by_name[one].gaze, constant)
        for one in fold.held_out
    }
    return Trained(fold, network, judged)


def _key(data: Dataset, recipe: Recipe, start: Base | None, folds: Sequence[Fold]) -> str:
    """Of an unfinished job: all that decides about its weights, and whom its trainings leave out."""
    known = (data.digest, asdict(recipe), start.digest if start else "", [fold.name for fold in folds])
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _lab_base(device: str) -> conventions.Answer:
    """What the base that ships answers, for whether a data set has this project's convention."""
    network = model.load(BASE_CHECKPOINT).to(device)

    def answer(pictures: Picture) -> Floats:
        empty = np.zeros((len(pictures), 2))
        return fitting.predict(
            network, Pictures([Faces(pictures, empty, empty, np.empty((len(pictures), 6, 2)))]), device
        )

    return answer


def _log_data(data: Dataset) -> None:
    mlflow.set_tags({"data_digest": data.digest, "dataset": f"MPIIFaceGaze, {LAYOUTS[data.layout].NAME}"})
    persons = {
        one.name: {"faces": len(one.faces), "left_out": one.faces.left_out, "digest": one.digest} for one in data.people
    }
    about = {"layout": data.layout, "described": data.describe(), "persons": persons, "unusable": data.unusable}
    mlflow.log_dict(about, "dataset.json")


def _report(shown: pd.DataFrame, data: Dataset, config: PretrainConfig) -> None:
    everybody = shown.iloc[-1]
    mlflow.log_metrics(
        {
            f"{prefix}/{quantity}_error_deg": float(everybody[column])
            for prefix, quantity, column in (
                ("held_out", "azimuth", "azimuth_error_deg"),
                ("held_out", "elevation", "elevation_error_deg"),
                ("held_out", "angular", "angular_error_deg"),
                ("constant", "angular", "constant_angular_error_deg"),
            )
        },
        step=config.epochs,
    )
    mlflow.log_table(shown, "tables/per_person.json")
    mlflow.log_text(table.describe(shown), "tables/per_person.txt")
    mlflow.log_figure(table.figure(shown, caption(data.layout)), "figures/per_person.png")
    figures.close()


def caption(layout: str) -> str:
    """Of the figure of persons, for a data set of that ``layout``."""
    return f"MPIIFaceGaze, {LAYOUTS[layout].NAME}: people not trained on"


def _check_export(export: str) -> None:
    if not export:
        return
    if Path(export).exists():
        raise InputError(
            f"export={export}: is there already, and is not written over; choose another name or remove it"
        )
    files.check_folder(f"export={export}", Path(export))


def _export(network: nn.Module, path: Path) -> None:
    """The state_dict as plain torch and torchvision load it: float32, contiguous, on the CPU; whole or not at all."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, lambda unfinished: torch.save(state, unfinished))
