"""From the chosen checkpoint to registered versions: the packages, their contracts, the base beside them."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recording import label_frame
from recording.recordings import Recordings
from recording.relative_to import AUTO
from registry import contract, registration, versions
from registry.addresses import base_name
from registry.crop import Crop
from registry.holdout import Holdout
from registry.intervals import Floats
from registry.network import GazeNetwork
from training import inspection
from training.bases import Bases
from training.config import ALL, HELD_OUT
from training.context import Job
from training.final import Final
from training.learning import pictures
from training.learning.model import digest
from training.measuring import baselines
from training.measuring.baselines import Baselines
from training.measuring.errors import QUANTITIES
from training.reporting import package
from training.reporting.report import Report
from training.searching.study import SearchResult
from training.tracking import git_commit


@dataclass(frozen=True)
class Packages:
    """The folders that are registered: of the chosen model and of the base that it started from."""

    model: Path
    base: Path
    holdout: Holdout
    """The test samples, as they travel with the model."""
    base_deg: Floats
    """(n_test, 2) what the base as it is answers to the test samples, degrees."""
    baselines: Baselines
    """What the model must beat, fitted on the training samples."""
    crop: Crop
    """How pictures are cut for both."""


def assemble(job: Job, trained: Final, starts: Bases, into: Path) -> Packages:
    """All files of both packages but their contracts; the baselines' answers travel with the held-out samples."""
    kept = package.held_out(job.recordings, job.split, job.base.holdout, everything=trained.twin is not None)
    package.assemble(into / "base", job.base.network, package.with_lineage(kept, job.base.holdout))
    base = GazeNetwork(into / "base" / contract.NETWORK)
    base_deg = pictures.predict(base, job.samples.pictures, job.split.test)
    fitted = baselines.fit(starts.answers_deg, job.recordings.labels_deg[job.fitted_on])
    kept = replace(kept, baselines_deg=fitted.answers(base_deg))
    package.assemble(into / "model", trained.network, kept, trained.twin)
    crop = Crop.of(*job.recordings.layouts(job.config.layout), job.recordings.faces, job.recordings.rooms)
    return Packages(into / "model", into / "base", kept, base_deg, fitted, crop)


def register(job: Job, result: Report, packages: Packages, bases: Bases, trained: Final) -> int:
    """Register the base (once per base) and the chosen model; the model's new version number."""
    data, split, found, model_name = job.recordings, job.split, result.search, job.config.model_name
    digests = {
        "data": data.digest, "drive": packages.holdout.drive, "base": job.base.digest, "code": git_commit()
    }  # fmt: skip
    golden = package.golden(packages.holdout, packages.crop)
    stated = contract.Errors.model_fields  # of the calibrations the contract states one; the holdout has them all
    figures = {who: errors.means() for who, errors in result.errors.items() if who in stated}
    shared = {"split": split.name, "leaking": split.leaking, "samples": len(split.test)}
    as_base = base_name(model_name)
    base = contract.Statement(
        model_name=as_base,
        crop=packages.crop,
        errors=shared | {"model": figures["base"]},
        digests=digests | {"weights": job.base.digest},
        training={"source": job.base.name},
        rendered_sample_drive=data.rendered,
    )
    if versions.made_from(as_base, job.base.digest, packages.crop.face_in_words) is None:
        contract.seal(packages.base, golden, base)
        registration.register(packages.base, model_name=as_base, run_id=job.run_id)
    model = replace(
        base,
        model_name=model_name,
        errors=shared | figures,
        scenarios=_scenarios(result),
        unseen_driver=_unseen_driver(result, data),
        training=_training(job, found, bases, trained),
        output=contract.OutputPromise(label_frame=label_frame.common(job.label_frames)),
        digests=digests | {"weights": digest(trained.network)},
    )
    contract.seal(packages.model, golden, model)
    return registration.register(
        packages.model, model_name=model_name, run_id=job.run_id, description_extra=result.verdict.line()
    )


def _training(job: Job, found: SearchResult, bases: Bases, trained: Final) -> dict[str, Any]:
    """How the chosen model was made, for its contract."""
    chosen = found.config()
    return asdict(chosen) | {
        "best_epoch": found.best.user_attrs["result"]["best"]["number"],
        "validation_angular_error_deg": found.best.user_attrs["result"]["value"],
        "trial": found.best.number,
        "trials": len(found.ran()),
        "study": found.study,
        "base": job.base.name,
        "train_samples": trained.samples,
        "final_epochs": trained.epochs,
        "kept_of_azimuth": found.kept()[1],
        "kept_of_elevation": found.kept()[0],
        "final": HELD_OUT if trained.twin is None else ALL,
        contract.LABEL_FRAME: "" if job.config.label_frame == AUTO else job.config.label_frame,
        "label_offset_frames": inspection.label_offsets(job.recordings),
        "alignment": bases.variants[chosen.bn].alignment.describe(),
    }


def _unseen_driver(result: Report, data: Recordings) -> dict[str, Any] | None:
    """What leaving drivers out gave, for the contract; ``None`` where none were."""
    found = result.unseen
    if found is None:
        return None
    digests = {drive.name: drive.digest for drive in data.drives}
    overall = found.errors["angular"]
    ends = {"low_deg": max(0.0, overall.low), "high_deg": overall.high} if overall.is_told else {}
    return ends | {
        "errors": {f"{name}_error_deg": found.errors[name].mean for name in QUANTITIES},
        "drivers": [
            {
                "name": one.name,
                "recordings": [digests[name] for name in one.drives],
                "samples": one.samples,
                "errors": {f"{name}_error_deg": float(one.model_deg[k]) for k, name in enumerate(QUANTITIES)},
            }
            for one in found.drivers
        ],
    }


def _scenarios(result: Report) -> list[dict[str, Any]]:
    rows = []
    for row in result.scenarios().to_dict("records"):
        errors = None
        if row["samples"]:
            errors = {f"{q}_error_deg": row[f"model_{q}_error_deg"] for q in ("azimuth", "elevation", "angular")}
        rows.append(
            {"number": row["scenario"], "description": row["gaze"], "samples": row["samples"], "errors": errors}
        )
    return rows
