"""The trained base as a version ``<model_name>-base``, as the main job registers the one that it started from."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from recording import angles
from registry import card, contract, registration, versions
from registry.addresses import base_name
from registry.crop import Crop
from registry.holdout import Holdout
from registry.intervals import Floats
from training import tracking
from training.checkpoints import Base
from training.config import PretrainConfig
from training.learning.model import digest
from training.measuring.errors import measure
from training.pretraining.dataset import LAYOUTS, Dataset
from training.pretraining.splits import Fold
from training.pretraining.table import Judged
from training.reporting import package

KEPT = 200
"""Faces of the held-out persons that travel with the version, spread evenly."""
WHOLE_PICTURE = Crop(layout="driver", rectangles=())
"""A normalised face is all that the network reads."""


def register(
    config: PretrainConfig,
    data: Dataset,
    fold: Fold,
    network: nn.Module,
    judged: Mapping[str, Judged],
    start: Base | None,
    run_id: str,
) -> str:
    """Register the base unless it is one already; a line that says what it is called."""
    name, weights = base_name(config.model_name), digest(network)
    known = versions.made_from(name, weights, WHOLE_PICTURE.face_in_words)
    if known is not None:
        return f"registered before: {name} version {known.number}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "base"
        kept = held_out(data, fold, judged, start)
        package.assemble(folder, network, kept)
        answers, gaze, constant = (
            np.concatenate([part(one) for one in judged.values()])
            for part in (
                lambda one: one.answers,
                lambda one: one.gaze,
                lambda one: np.broadcast_to(one.constant, one.gaze.shape),
            )
        )
        contract.seal(
            folder,
            package.golden(kept),
            contract.Statement(
                model_name=name,
                crop=WHOLE_PICTURE,
                errors={
                    "split": "persons",
                    "leaking": False,
                    "samples": len(gaze),
                    "model": _means(answers, gaze),
                    "constant": _means(constant, gaze),
                },
                digests={
                    "data": data.digest,
                    "drive": data.digest,
                    "base": weights,
                    "code": tracking.git_commit(),
                    "weights": weights,
                },
                training=_training(config, data, fold, start),
                rendered_sample_drive=False,
            ),
        )
        number = registration.register(folder, model_name=name, run_id=run_id)
    return f"registered: {name} version {number}; start from it with base=models:/{name}/{number}"


def held_out(data: Dataset, fold: Fold, judged: Mapping[str, Judged], start: Base | None) -> Holdout:
    """Faces of the held-out persons; each person is a block, since their faces err alike."""
    faces = {one.name: one.faces for one in data.people}
    every = [(number, name, row) for number, name in enumerate(fold.held_out) for row in range(len(faces[name]))]
    chosen = [every[k] for k in np.unique(np.linspace(0, len(every) - 1, KEPT).round().astype(int))]
    labels = np.array([angles.pitch_yaw_to_deg(faces[name].gaze[row]) for _, name, row in chosen])
    constant = np.array([angles.pitch_yaw_to_deg(judged[name].constant) for _, name, _ in chosen])
    kept = Holdout(
        jpegs=[package.encode(faces[name].pictures[row]) for _, name, row in chosen],
        names=[f"{name}-{row:04d}.jpg" for _, name, row in chosen],
        labels_deg=labels,
        frames=np.arange(len(chosen)),
        blocks=np.array([number for number, _, _ in chosen]),
        scenarios=np.array([number % 10 + 1 for number, _, _ in chosen]),
        drive=data.digest,
        fps=1.0,
        trained_frames=np.array([], dtype=np.int64),
        baselines_deg={"constant": constant},
    )
    return package.with_lineage(kept, start.holdout if start else None)


def _training(config: PretrainConfig, data: Dataset, fold: Fold, start: Base | None) -> dict[str, str | int]:
    """What the base was trained on and how, for its contract and card."""
    faces = {one.name: len(one.faces) for one in data.people}
    return {
        "source": f"MPIIFaceGaze, {LAYOUTS[data.layout].NAME}",
        card.DATASET: f"MPIIFaceGaze, {LAYOUTS[data.layout].NAME}",
        "persons": ",".join(fold.train),
        "held_out_persons": ",".join(fold.held_out),
        "train_samples": sum(faces[name] for name in fold.train),
        "started_from": start.name if start else "random weights",
        "epochs": config.epochs,
        "seed": config.seed,
    }


def _means(answers: Floats, gaze: Floats) -> dict[str, float]:
    deg = angles.pitch_yaw_to_deg
    return measure(deg(answers), deg(gaze), np.zeros(len(gaze), dtype=np.int64)).means()
