"""The main job: prepare → search → report → register, on one parent run."""

import hashlib
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path

import mlflow
import numpy as np
import safetensors.torch
import torch

from recording import files, preparation, recordings
from recording.angles import pitch_yaw_to_deg
from recording.exceptions import GazeError, InputError
from recording.recordings import Recordings
from registry import contract, versions
from registry.holdout import Holdout
from registry.network import GazeNetwork
from training import checkpoints
from training.checkpoints import Base
from training.learning import model
from training.learning.finetune import TrialConfig, predict
from training.learning.trunk import ActivationCache, Material, features, fill, reestimated
from training.measuring import baselines, splits
from training.measuring.alignment import Alignment, align
from training.measuring.errors import measure
from training.measuring.splits import Split
from training.measuring.verdict import judge, likely_causes
from training.reporting import package, report
from training.reporting.report import RENDERED, Report
from training.sample import sample_drive
from training.searching.study import SearchResult, SearchSpace, Study, space_identity
from training.searching.trial import TrialSpec, material

log = logging.getLogger(__name__)

EXPERIMENT = "gaze-finetuning"


@dataclass(frozen=True)
class JobConfig:
    """The parameters of the main job, by their names on the command line."""

    samples: int = 500
    """Frames to extract, evenly spaced over the usable rows."""
    video: str = ""
    """Composite video of the drive."""
    labels: str = ""
    """CSV of the measured gaze angles."""
    base: str = ""
    """Checkpoint to start from: .pth, .safetensors or models:/…; empty: the lab base that ships."""
    data: str = ""
    """Prepared folder in place of video and labels; several, comma-separated, for split=by-drive."""
    layout: str = "dashgaze"
    """Where the views are in the video: dashgaze, driver, or a YAML/JSON file."""
    trials: int = 12
    """Trials of the search."""
    timeout: float = 0
    """Seconds for the search; 0 = no limit."""
    epochs_min: int = 5
    """Least epochs that a trial may choose."""
    epochs_max: int = 30
    """Most epochs that a trial may choose."""
    lr_min: float = 1e-5
    """Least learning rate."""
    lr_max: float = 1e-2
    """Highest learning rate."""
    freeze: str = "backbone,layer3,layer2,none"
    """Freeze choices searched: of backbone, layer3, layer2, layer1, none; one value fixes it."""
    bn: str = "source,target"
    """BatchNorm statistics searched: source, target; one value fixes it."""
    batch_size: int = 16
    """Samples a step."""
    split: str = "blocks"
    """blocks (time blocks with gaps), by-drive, or random (the old protocol; leaks)."""
    seed: int = 0
    """Of everything random."""
    study: str = ""
    """Name of the search; the name of an unfinished one resumes it; empty: a new one."""
    model_name: str = "gaze-tracker"
    """Registered model that gets the best checkpoint as a new version."""
    work: str = "data"
    """Where prepared folders, caches and studies go."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples={self.samples}: must be at least 1")
        if self.data and (self.video or self.labels):
            raise InputError("data= replaces video= and labels=: give either the prepared folder or the recording")
        if bool(self.video) != bool(self.labels):
            given, wanted = ("video", "labels") if self.video else ("labels", "video")
            raise InputError(f"{given}= was given without {wanted}=: a recording needs both")
        if self.split not in splits.SPLIT_CHOICES:
            raise InputError(f"split={self.split!r} is unknown: choose one of {', '.join(splits.SPLIT_CHOICES)}")
        if self.study and not all(c.isalnum() or c in "-_." for c in self.study):
            raise InputError(f"study={self.study!r}: use letters, digits, '-', '_' and '.' only")
        if not self.model_name.strip() or "/" in self.model_name or ":" in self.model_name:
            raise InputError(f"model_name={self.model_name!r}: give a name without '/' and ':'")

    def space(self) -> SearchSpace:
        """The search space; raises :class:`InputError` for an impossible one."""
        chosen = {field.name: getattr(self, field.name) for field in fields(SearchSpace)}
        for name in ("freeze", "bn"):
            chosen[name] = tuple(part.strip() for part in chosen[name].split(",") if part.strip())
        return SearchSpace(**chosen)


class Clock:
    """Seconds of each part of the job."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


@dataclass(frozen=True)
class BaseVariant:
    """The base with one choice of BatchNorm statistics, its head aligned to the labels, on disk."""

    path: Path
    alignment: Alignment


def choose_device(name: str) -> str:
    """``auto`` → cuda, mps or cpu, whichever is there first; a device that is not there is an :class:`InputError`."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, is_there in there.items() if is_there)
    if name not in there:
        raise InputError(f"device={name!r} is unknown: choose one of auto, {', '.join(there)}")
    if not there[name]:
        raise InputError(f"device={name}: not on this machine; use device=auto")
    return name


def prepare_data(config: JobConfig) -> Recordings:
    """The prepared folder(s) that the job works on: given, made from the recording, or the rendered sample drive."""
    if config.data:
        return recordings.load(tuple(Path(part.strip()) for part in config.data.split(",") if part.strip()))
    work = Path(config.work)
    if config.video:
        video, labels, layout = Path(config.video), Path(config.labels), config.layout
        place = hashlib.sha256(f"{video.resolve()} {labels.resolve()} {layout}".encode()).hexdigest()[:8]
        folder = work / "prepared" / f"{video.stem}-{place}-{config.samples}"
    else:
        log.info("no recording given: using the %s (made by this project, not a real drive)", RENDERED)
        video, labels = sample_drive.render(work / "sample-drive")
        layout, folder = "dashgaze", work / "prepared" / f"sample-drive-{config.samples}"
    return recordings.load((preparation.prepare(video, labels, config.samples, layout, folder),))


def prepare_bases(
    base: Base, data: Recordings, stock: Material, config: JobConfig, cache: ActivationCache, into: Path
) -> tuple[dict[str, BaseVariant], np.ndarray]:
    """Write the base in every BatchNorm variant searched, and fill the activation cache for each.

    Also returns the raw base's (n_train, 2) answers, degrees. Only training samples are looked at: statistics and
    alignment must not see held-out frames.
    """
    device = torch.device(choose_device(config.device))
    space = config.space()
    boundaries = tuple({"backbone", *space.freeze} - {"none"})
    labels = data.labels_deg[stock.train]
    fill(base.network, boundaries if "source" in space.bn else ("backbone",), stock, cache, device)
    raw_deg = _training_answers(base.network, stock, cache, device)
    as_it_is = align(raw_deg, labels)
    log.info("%s", as_it_is.describe())
    variants = {}
    for bn in space.bn:
        network = model.build()
        network.load_state_dict(base.network.state_dict())
        alignment = as_it_is
        if bn == "target":
            network = reestimated(network, stock.pictures, stock.train, device)
            fill(network, boundaries, stock, cache, device)
            alignment = align(_training_answers(network, stock, cache, device), labels)
            if alignment.changes() != as_it_is.changes():
                log.info("with statistics re-estimated on the drive: %s", alignment.describe())
        variants[bn] = BaseVariant(_aligned(network.cpu(), alignment, into / f"base-{bn}.safetensors"), alignment)
    return variants, raw_deg


def _aligned(network: torch.nn.Module, alignment: Alignment, path: Path) -> Path:
    """Write the network with its head aligned to the labels; whole or not at all."""
    alignment.adopt(network)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    files.write(path, lambda unfinished: safetensors.torch.save_file(state, unfinished))
    return path


def _training_answers(network: torch.nn.Module, stock: Material, cache: ActivationCache, device) -> np.ndarray:
    """(n_train, 2) degrees, from the cached pooled activations."""
    source = features(network, "backbone", stock, cache, device)
    _, tail = model.cut(network, "backbone")
    return pitch_yaw_to_deg(predict(tail.to(device), source, stock.train))


def run_search(
    config: JobConfig,
    space: SearchSpace,
    name: str,
    data: Recordings,
    split: Split,
    base: Base,
    bases,
    study: Study,
    run_id: str,
) -> SearchResult:
    """Run the study's trials under the parent run."""
    experiment = mlflow.get_run(run_id).info.experiment_id
    device = choose_device(config.device)

    def spec(number: int, trial: TrialConfig, checkpoint: Path, seconds_left: float) -> TrialSpec:
        return TrialSpec(
            number=number,
            config=trial,
            base=bases[trial.bn].path,
            samples=data.folders,
            train=split.train,
            validation=split.validation,
            cache=Path(config.work) / "cache",
            checkpoint=checkpoint,
            device=device,
            tracking_uri=mlflow.get_tracking_uri(),
            experiment_id=experiment,
            parent_run_id=run_id,
            study=name,
            seconds_left=seconds_left,
        )

    return study.run(spec)


def run(config: JobConfig) -> int:
    """The whole job; returns 0. Prints the side-by-side table, the verdict and the registered version.

    Raises :class:`GazeError` for whatever the user can mend; the MLflow run then ends FAILED with that line as tag
    ``error``.
    """
    space = config.space()
    choose_device(config.device)
    name = config.study or f"search-{datetime.now():%Y%m%d-%H%M%S}"
    with tracked_run(f"finetune-{name}") as run_id:
        _log_parameters(config)
        mlflow.set_tags({"study": name, "git_commit": git_commit()})
        with ExitStack() as stack:
            return _run(config, space, name, run_id, stack)


def _run(config: JobConfig, space: SearchSpace, name: str, run_id: str, stack: ExitStack) -> int:
    clock = Clock()
    work = Path(config.work)
    base = checkpoints.load_base(config.base)
    with clock.part("prepare"):
        data = prepare_data(config)
    split = splits.split(config.split, data.frames, data.drives[0].fps, data.drive_index, config.seed)
    package.check_lineage(data, split, base.holdout)
    source = RENDERED if data.rendered else "recording"
    mlflow.set_tags({"data_source": source, "leaking_split": str(split.leaking).lower(), "base_name": base.name})
    mlflow.log_metrics(
        {
            "samples/all": len(data),
            "samples/train": len(split.train),
            "samples/validation": len(split.validation),
            "samples/test": len(split.test),
        }
    )
    _log_dataset(data, source)
    log.info("%s: %d samples; %s", source, len(data), split.describe())
    if split.leaking:
        log.warning(
            "split=random LEAKS: neighbouring frames are in training and test; use it only to compare with old figures"
        )

    cache = ActivationCache(work / "cache")
    identity = space_identity(space) | {"data": data.digest[:16], "base": base.digest[:16], "split": config.split}
    study = stack.enter_context(closing(Study(work / "studies" / name, name, space, identity)))
    study.end_orphans(run_id)
    if study.resumed:
        log.info("study %s: resuming with %d of %d trials finished", name, len(study.finished()), space.trials)
    with clock.part("cache"):
        stock = material(data, cache, split.train, split.validation, config.seed)
        bases, base_train_deg = prepare_bases(base, data, stock, config, cache, study.folder)
    log.info("search %s: up to %d trials; resume an interrupted one with study=%s", name, space.trials, name)
    with clock.part("trials"):
        found = run_search(config, space, name, data, split, base, bases, study, run_id)
    clock.seconds["trials"] -= found.cache_seconds
    clock.seconds["cache"] += found.cache_seconds

    with clock.part("report"), tempfile.TemporaryDirectory(dir=work) as scratch:
        kept = package.held_out(data, stock.pictures, split, base.holdout)
        folders = {"model": Path(scratch) / "model", "base": Path(scratch) / "base"}
        package.assemble(folders["model"], model.load(found.checkpoint), kept)
        frames, drives = package.seen_before(kept.drive, base.holdout)
        as_base = replace(kept, trained_frames=frames, trained_drives=tuple(sorted(drives)))
        package.assemble(folders["base"], base.network, as_base)
        result = evaluate_on_test(data, stock.pictures, split, base_train_deg, bases, found, folders)
        report.log(result, run_id)
        version = register(config, result, kept, base, bases, found, folders, run_id)
    cache.close()
    mlflow.log_metrics({f"seconds/{part}": seconds for part, seconds in clock.seconds.items()})
    mlflow.set_tags({"registered_version": version})
    print(last_lines(config, result, version, clock, name))
    return 0


def evaluate_on_test(
    data: Recordings, crops: np.ndarray, split: Split, base_train_deg: np.ndarray, bases, found: SearchResult, folders
) -> Report:
    """Answers and errors of base, constant, calibration and chosen model on the test samples.

    The two networks answer through the very ONNX files that are registered.
    """
    test, labels = split.test, data.labels_deg
    base_deg = GazeNetwork(folders["base"] / contract.NETWORK).predict(crops[test])
    constant = baselines.fit_constant(labels[split.train])
    calibration = baselines.fit_calibration(base_train_deg, labels[split.train])
    answers = {
        "base": base_deg,
        "constant": constant.predict(len(test)),
        "calibrated": calibration.predict(base_deg),
        "model": GazeNetwork(folders["model"] / contract.NETWORK).predict(crops[test]),
    }
    errors = {who: measure(answer, labels[test], split.block[test]) for who, answer in answers.items()}
    alignment = bases[found.config().bn].alignment
    verdict = judge(
        answers["model"],
        {"linear calibration": answers["calibrated"], "constant": answers["constant"]},
        labels[test],
        split.block[test],
        leaking=split.leaking,
        causes=likely_causes(alignment, labels[split.train], len(split.train), errors["base"]),
    )
    return Report(data, split, answers, errors, verdict, alignment.describe(), calibration.describe(), found)


def register(
    config: JobConfig, result: Report, kept: Holdout, base: Base, bases, found: SearchResult, folders, run_id: str
) -> int:
    """Register the base (once per base) and the chosen model; the model's new version number."""
    data, split = result.recordings, result.split
    common = {
        "golden_jpegs": package.golden(kept),
        "crop": {"layout": config.layout, "view": "driver"},
        "rendered_sample_drive": data.rendered,
        "digests": {"data": data.digest, "drive": kept.drive, "base": base.digest, "code": git_commit()},
    }
    figures = {who: errors.means() for who, errors in result.errors.items()}
    shared = {"split": split.name, "leaking": split.leaking, "samples": len(split.test)}
    base_name = f"{config.model_name}-base"
    if not _is_registered(base_name, base.digest):
        contract.seal(
            folders["base"],
            model_name=base_name,
            errors=shared | {"model": figures["base"]},
            training={"source": base.name},
            **common,
        )
        versions.register(folders["base"], model_name=base_name, run_id=run_id)
    chosen = found.config()
    training = asdict(chosen) | {
        "best_epoch": found.best.user_attrs["result"]["best"]["number"],
        "validation_angular_error_deg": found.best.user_attrs["result"]["value"],
        "trial": found.best.number,
        "trials": len(found.trials),
        "study": found.study,
        "base": base.name,
        "train_samples": len(split.train),
        "alignment": bases[chosen.bn].alignment.describe(),
    }
    contract.seal(
        folders["model"],
        model_name=config.model_name,
        errors=shared | figures,
        scenarios=_scenarios(result),
        training=training,
        **common,
    )
    return versions.register(
        folders["model"], model_name=config.model_name, run_id=run_id, description_extra=result.verdict.line()
    )


def _is_registered(model_name: str, base_digest: str) -> bool:
    client = mlflow.MlflowClient()
    return any(
        version.tags.get("digest.base") == base_digest
        for version in client.search_model_versions(f"name='{model_name}'")
    )


def _scenarios(result: Report) -> list[dict]:
    rows = []
    for row in result.scenarios().to_dict("records"):
        errors = None
        if row["samples"]:
            errors = {f"{q}_error_deg": row[f"model_{q}_error_deg"] for q in ("azimuth", "elevation", "angular")}
        rows.append(
            {"number": row["scenario"], "description": row["gaze"], "samples": row["samples"], "errors": errors}
        )
    return rows


def last_lines(config: JobConfig, result: Report, version: int, clock: Clock, study: str) -> str:
    """The last lines on the terminal."""
    seconds = ", ".join(f"{part} {value:.0f} s" for part, value in clock.seconds.items())
    best = result.search.config()
    promote = f"python -m registry promote --version {version} --stage Production"
    if config.model_name != "gaze-tracker":
        promote += f" --model-name {config.model_name}"
    return "\n".join(
        [
            "",
            result.printed(),
            "",
            f"verdict: {result.verdict.line()}",
            f"search: {trials_run(config, result.search)}",
            f"chosen: trial-{result.search.best.number:03d} of study {study} "
            f"(freeze={best.freeze}, bn={best.bn}, lr={best.lr:.2e})",
            f"registered: {config.model_name} version {version}",
            f"promote it: {promote}",
            f"look at it: mlflow ui (run {mlflow.active_run().info.run_name}, report/report.html)",
            f"time: {seconds}",
        ]
    )


def trials_run(config: JobConfig, found: SearchResult) -> str:
    """How many of the trials were run, in words; resuming runs the rest."""
    ran = [trial for trial in found.trials if "result" in trial.user_attrs or "error" in trial.user_attrs]
    failed = sum("error" in trial.user_attrs for trial in ran)
    early = sum(trial.user_attrs["result"]["ended"] == "pruned" for trial in ran if "result" in trial.user_attrs)
    said = f"{len(ran)} of {config.trials} trials, {early} of them ended early because they could not win"
    if failed:
        said += f", {failed} failed"
    if len(ran) < config.trials:
        said += f"; the time was up (timeout={config.timeout:g} s), study={found.study} goes on with the rest"
    return said


@contextmanager
def tracked_run(name: str, experiment: str = EXPERIMENT) -> Iterator[str]:
    """The run that ``mlflow run`` made, or a new one; ends FINISHED, FAILED (tag ``error``) or KILLED (Ctrl-C)."""
    inside_project = "MLFLOW_RUN_ID" in os.environ
    if not inside_project and not {"MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"} & set(os.environ):
        mlflow.set_experiment(experiment)
    run = mlflow.start_run() if inside_project else mlflow.start_run(run_name=name)
    if inside_project:
        mlflow.set_tag("mlflow.runName", name)
    try:
        yield run.info.run_id
    except GazeError as error:
        mlflow.set_tag("error", " ".join(str(error).split())[:4900])
        mlflow.end_run("FAILED")
        raise
    except KeyboardInterrupt:
        mlflow.set_tag("ended", "interrupted")
        mlflow.end_run("KILLED")
        raise
    except BaseException as error:
        mlflow.set_tag("error", f"{type(error).__name__}: {' '.join(str(error).split())}"[:4900])
        mlflow.end_run("FAILED")
        raise
    mlflow.end_run("FINISHED")


def _log_parameters(config: JobConfig) -> None:
    """Parameters of an MLproject are already there (as the strings given); log the others."""
    there = mlflow.active_run().data.params
    mlflow.log_params({key: value for key, value in asdict(config).items() if key not in there})


def _log_dataset(data: Recordings, source: str) -> None:
    for drive in data.drives:
        table = drive.table[["frame", "driver", "azimuth_deg", "elevation_deg"]]
        dataset = mlflow.data.from_pandas(
            table, source=str(drive.folder), name=f"{source}: {drive.folder.name}", digest=drive.digest[:36]
        )
        mlflow.log_input(dataset, context="training")
    mlflow.set_tag("data_digest", data.digest)


def git_commit() -> str:
    """The commit of this code, with ``+`` when the working tree differs; ``unknown`` outside a repository."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")
