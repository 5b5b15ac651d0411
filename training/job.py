"""The main job: prepare → search → report → register, on one parent run."""

import logging
import math
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow

from recording import label_frame, preparation, recordings
from recording.drive import Source
from recording.exceptions import InputError
from recording.recordings import Recordings
from registry import comparison, contract, figures
from registry.addresses import DEFAULT_MODEL_NAME, model_option
from registry.network import GazeNetwork
from registry.registration import check as check_registration
from training import (
    bases,
    checkpoints,
    few_samples,
    final,
    fleet,
    inspection,
    registration,
    tracking,
    unseen,
    workplace,
)
from training.bases import Bases
from training.config import ALL, HELD_OUT, JobConfig, choose_device
from training.context import Clock, Job
from training.final import Final
from training.learning import pictures, shrinkage
from training.learning.cache import ActivationCache
from training.learning.finetune import TrialConfig
from training.learning.trunk import dataset
from training.measuring import overlap, splits
from training.measuring.errors import measure
from training.measuring.splits import Split
from training.measuring.verdict import likely_causes, reach
from training.registration import Packages
from training.reporting import package, page
from training.reporting.report import RENDERED, Report
from training.sample import sample_drive
from training.searching import process
from training.searching.process import Processes, Workers, accelerators
from training.searching.search import Search
from training.searching.storage import StudyDatabase, check_address
from training.searching.study import SearchResult, Study
from training.searching.trial import TrialSpec

if TYPE_CHECKING:
    from training.searching.envoy import Envoy

log = logging.getLogger(__name__)


def run(config: JobConfig) -> int:
    """The whole job; returns 0. Prints the side-by-side table, the verdict and the registered version.

    Raises :class:`~recording.exceptions.GazeError` for whatever the user can mend; the MLflow run then ends FAILED
    with that line as tag ``error``.
    """
    space = config.space()
    choose_device(config.device)
    if config.storage:
        check_address(config.storage)  # before MLflow keeps it as a parameter: it may have a password
    name = config.study or f"search-{datetime.now():%Y%m%d-%H%M%S}"
    clock, work = Clock(), Path(config.work)
    run_name = f"finetune-{name}"
    with tracking.tracked_run(run_name, f"study={name}") as run_id, ExitStack() as until_the_end:
        tracking.log_parameters(asdict(config))
        mlflow.set_tags({"study": name, "git_commit": tracking.git_commit()})
        workplace.check(work, *written(config), f"studies/{name}")
        cluster = until_the_end.enter_context(connected(config)) if config.cluster else None
        database = StudyDatabase(config.storage, name, run_id) if config.storage else None
        check_registration(config.model_name, run_id)
        base = checkpoints.load_base(config.base)
        with clock.part("prepare"):
            data = prepare_data(config, cluster)
        split = split_of(config, data)
        space = space.settled(len(split.train))
        overlap.check(data, split)
        label_frames = label_frame.together(data.drives, config.label_frame)
        package.check_lineage(data, split, base.holdout)
        describe(data, split, config.final)
        mlflow.set_tag("base_name", base.name)

        identity = space.identity() | {"data": data.digest[:16], "face": data.cut_in_words()}
        identity |= {"base": base.digest[:16], "split": split.digest()}
        with (
            closing(ActivationCache(work / "cache")) as cache,
            closing(Study(work / "studies" / name, name, space, identity, len(split.train), database)) as study,
        ):
            study.end_orphans(run_id)
            if study.resumed:
                log.info("study %s: resuming with %d of %d trials finished", name, len(study.finished()), space.runs())
            if cluster is None:
                process.warm_up()
            began = time.monotonic()
            with clock.part("cache"):
                used = dataset(data, cache, split.train, split.validation, config.seed)
                job = few_samples.chosen(Job(config, name, run_id, base, data, split, used, cache, label_frames), study)
                starts = bases.prepare(job, study.folder)
            with clock.part("labels"):
                base_deg = unseen.base_answers(job) if split.name == "by-driver" else None
                if data.listed:
                    fleet.tell(fleet.table(data, base_deg))
                looked_at = inspection.inspect(job, starts, base_deg)
            log.info("search %s: up to %d trials; resume an interrupted one with study=%s", name, space.runs(), name)
            if space.runs() < space.trials:
                log.info("this search space holds %d different trials: none is run twice", space.runs())
            spent = time.monotonic() - began
            if short := space.too_short(spent, len(data), job.done_at_first):
                log.warning("%s", short)
            deadline = time.monotonic() + space.seconds_left(spent)
            with clock.part("trials"):
                seconds = space.search_seconds(spent), space.search_seconds_at_most(spent)
                found = search(job, starts, study, seconds, cluster)
            study.end_orphans(run_id)
            if not study.is_to_be_concluded():
                print(f"study {name}: {trials_run(config, found)}; another process trains and registers the best one")
                return 0
            with clock.part("final"):
                trained = final.train(job, starts, found, deadline)
            with clock.part("drivers"):
                estimated = None if base_deg is None else unseen.estimate(job, found, trained.epochs, base_deg, cluster)
            clock.add("trials", -found.cache_seconds)
            clock.add("cache", found.cache_seconds)

            with clock.part("report"), tempfile.TemporaryDirectory(dir=work) as scratch:
                packages = registration.assemble(job, trained, starts, Path(scratch))
                result = replace(evaluate_on_test(job, packages, starts, found), labels=looked_at, unseen=estimated)
                page.log(result, run_id)
                version = registration.register(job, result, packages, starts, trained)
                study.conclude(run_id)
        mlflow.log_metrics({f"seconds/{part}": seconds for part, seconds in clock.seconds.items()})
        mlflow.set_tags({"registered_version": version})
        print(last_lines(config, result, version, clock, trained, run_name))
    return 0


def written(config: JobConfig) -> tuple[str, ...]:
    """The folders in ``work=`` in which the data of a job are kept."""
    if config.data:
        return ("cache",)
    return ("cache", "prepared") if config.video or config.drives else ("cache", "prepared", "sample-drive")


def connected(config: JobConfig) -> "AbstractContextManager[Envoy]":
    """The Ray cluster of the job."""
    try:
        from training.searching import envoy  # Ray is a package that only those have who ask for it
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise InputError(
            f"cluster={config.cluster}: Ray is not installed; pip install -r requirements/cluster.txt"
        ) from None
    return envoy.connected(config.cluster, Path(config.work))


def prepare_data(config: JobConfig, cluster: "Envoy | None" = None) -> Recordings:
    """What :func:`load_data` gives, with the face rectangles that the job, or a drive of its list, asks for."""
    if config.drives:
        return fleet.prepare(config, cluster.prepare if cluster and cluster.shared else None)
    return recordings.with_faces(load_data(config, config.face), config.face)


def split_of(config: JobConfig, data: Recordings) -> Split:
    """Which samples train, validate and test."""
    name = splits.chosen(config.split, len(data.drives), len(data.drivers), bool(config.drives))
    config.check_folds(name)
    return splits.of(name, data, config.seed)


def load_data(config: JobConfig, face_asked: str | None) -> Recordings:
    """The prepared folder(s) that the job works on: given, made from the recording, or the rendered sample drive.

    ``face_asked``: what :func:`recording.preparation.prepare` is to say of the face; nothing is looked for otherwise.
    """
    if config.drives:
        return fleet.load(config, face_asked)
    if config.data:
        given = recordings.load(config.folders())
        given.layouts(config.layout)  # a layout file that cannot be read is found now, not at registration
        return given
    work, track, shift = Path(config.work), config.track if config.track >= 0 else None, config.label_offset_frames
    if config.video:
        video, labels = Path(config.video), Path(config.labels)
        source = Source(video, labels, config.layout, track, config.on_bad_rows, shift)
        folder = preparation.place(work, source, config.samples)
    else:
        log.info("no recording given: using the %s (made by this project, not a real drive)", RENDERED)
        video, labels = sample_drive.render(work / "sample-drive")
        source = Source(video, labels, on_bad_rows=config.on_bad_rows, label_offset_frames=shift)
        folder = work / "prepared" / (f"sample-drive-{config.samples}" + (f"-offset{shift:g}" if shift else ""))
    return recordings.load((preparation.prepare(source, config.samples, folder, face_asked),))


def describe(data: Recordings, split: Split, final: str = HELD_OUT) -> None:
    """Tell the run and the terminal what the job works on, and how it is split."""
    source = RENDERED if data.rendered else "recording"
    mlflow.set_tags({"data_source": source, "leaking_split": str(split.leaking).lower()})
    parts = {
        "all": data.frames,
        "train": split.train,
        "validation": split.validation,
        "test": split.test,
        "final": data.frames if final == ALL else split.final,
    }
    mlflow.log_metrics({f"samples/{part}": len(indices) for part, indices in parts.items()})
    tracking.log_dataset(data, source)
    everything = "; final=all: a model trained on all of them is registered" * (final == ALL)
    log.info("%s: %d samples; %s%s", source, len(data), split.describe(), everything)
    if split.leaking:
        log.warning(
            "split=random LEAKS: neighbouring frames are in training and test; use it only to compare with old figures"
        )


def search(
    job: Job,
    starts: Bases,
    study: Study,
    seconds: tuple[float, float] = (math.inf, math.inf),
    cluster: "Envoy | None" = None,
) -> SearchResult:
    """Run the study's trials under the parent run, for so many ``seconds`` (:meth:`Search.run`): on this machine, or
    on a cluster."""
    experiment = mlflow.get_run(job.run_id).info.experiment_id

    def spec(number: int, trial: TrialConfig, checkpoint: Path, seconds_left: float) -> TrialSpec:
        train = job.fitted_on if trial.freeze == "backbone" else job.split.train
        return TrialSpec(
            number=number,
            config=trial,
            base=starts.variants[trial.bn].path,
            together=job.together,
            samples=job.recordings.folders,
            faces=job.recordings.faces,
            train=train,
            validation=job.split.validation,
            block=job.groups,
            cache=job.cache.folder,
            checkpoint=checkpoint,
            device=job.device.type,
            tracking_uri=mlflow.get_tracking_uri(),
            experiment_id=experiment,
            parent_run_id=job.run_id,
            study=job.study,
            seconds_left=seconds_left,
            share=job.share(train),
        )

    with closing(_workers(job, study, cluster)) as workers:
        return Search(study, workers, spec).run(*seconds)


def _workers(job: Job, study: Study, cluster: "Envoy | None") -> Workers:
    if cluster is None:
        return Processes(job.config.workers or 1, accelerators(job.device.type))
    return cluster.workers(job.config.workers, study.space.runs(), job.config.device)


def evaluate_on_test(job: Job, packages: Packages, starts: Bases, found: SearchResult) -> Report:
    """Answers and errors of base, baselines and chosen model on the test samples, and the verdict.

    The two networks answer through the very ONNX files that are registered: the table on the pictures as prepared,
    which is what `predict` answers; the verdict on the held-out samples as they travel with the version, which the
    gate will look at, so that these two never disagree.
    """
    split, kept = job.split, packages.holdout
    truth, block = kept.labels_deg, kept.blocks
    # With final=all the registered network was trained on these samples: its twin, which was not, answers for it.
    network = GazeNetwork(packages.model / (contract.TWIN if kept.twin else contract.NETWORK))
    answers = {
        "base": packages.base_deg,
        **kept.baselines_deg,
        "model": pictures.predict(network, job.samples.pictures, split.test),
    }
    errors = {who: measure(answer, truth, block) for who, answer in answers.items()}
    alignment = starts.variants[found.config().bn].alignment
    trained = job.recordings.labels_deg[split.train]
    verdict = reach(
        comparison.answers(network, packages.crop, kept),
        kept.baselines_deg,
        truth,
        block,
        split=split.name,
        leaking=split.leaking,
        causes=likely_causes(
            alignment, trained, len(trained), errors["base"], starts.familiarity, inspection.more_samples(job)
        ),
    )
    before = figures.tested_on(job.config.model_name, kept.drive)
    lines = alignment.describe(), f"fitted on {job.fitted_line}: {packages.baselines.describe()}"
    known = starts.familiarity, tuple(before)
    return Report(job.recordings, split, answers, errors, verdict, *lines, found, *known, twin=bool(kept.twin))


def last_lines(config: JobConfig, result: Report, version: int, clock: Clock, trained: Final, run_name: str) -> str:
    """The last lines on the terminal."""
    seconds = ", ".join(f"{part} {value:.0f} s" for part, value in clock.seconds.items())
    best = result.search.config()
    promote = f"python -m registry promote --version {version} --stage Production"
    if config.model_name != DEFAULT_MODEL_NAME:
        promote += f" {model_option(config.model_name)}"
    return "\n".join(
        [
            "",
            result.printed(),
            "",
            f"verdict: {result.verdict.line()}",
            *(f"labels: {one.line()}" for one in result.labels),
            f"search: {trials_run(config, result.search)}",
            f"chosen: trial-{result.search.best.number:03d} of study {result.search.study} "
            f"(freeze={best.freeze}, bn={best.bn}, head={best.head}, lr={best.lr:.2e})",
            f"final training: {final.in_words(best.head, trained.epochs, trained.samples, len(result.recordings))}"
            + f"; the errors are its twin's, trained on {len(result.split.final)}" * (trained.twin is not None),
            *filter(None, [shrinkage.describe(result.search.kept())]),
            f"registered: {config.model_name} version {version}",
            f"promote it: {promote}",
            f"look at it: mlflow ui (run {run_name}, report/report.html)",
            f"time: {seconds}",
        ]
    )


def trials_run(config: JobConfig, found: SearchResult) -> str:
    """How many of the trials were run, in words; resuming runs the rest."""
    ran = found.ran()
    failed = sum("error" in trial.user_attrs for trial in ran)
    early = sum(trial.user_attrs["result"]["ended"] == "pruned" for trial in ran if "result" in trial.user_attrs)
    wanted = config.space().runs()
    said = f"{len(ran)} of {wanted} trials, {early} of them ended early because they could not win"
    if failed:
        said += f", {failed} failed"
    if len(ran) < wanted:
        said += f"; the time was up (timeout={config.timeout:g} s), study={found.study} goes on with the rest"
    return said
