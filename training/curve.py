"""The ``curve`` entry point: what more data would bring, measured on nested subsets of one drive's training part.

Validation and test blocks are the same for all sizes, and so are the activations of the frozen trunk: a subset is a
choice of rows. A training stops where validation says so, as a trial does; what the main job adds at the end (it goes
on with the validation blocks) is left out, so that a size is what it says.
"""

import hashlib
import json
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import mlflow
import numpy as np
from tqdm import tqdm

from recording import files, label_frame
from recording.angles import pitch_yaw_to_deg
from recording.exceptions import GazeError, InputError
from recording.prepared import DRIVE
from recording.recordings import Recordings
from registry.intervals import block_means
from registry.registration import check_artifacts
from registry.rule import BASELINES
from training import bases, checkpoints, chosen, job, tracking, workplace
from training.bases import Bases
from training.chosen import Chosen, Cost
from training.config import CurveConfig, choose_device
from training.context import Job
from training.learning import model
from training.learning.answers import predict
from training.learning.cache import ActivationCache
from training.learning.trunk import dataset, features
from training.measuring import baselines, learning_curve, outlook, overlap, subsets
from training.measuring.errors import MeasuredErrors, measure, per_sample, summarise
from training.measuring.learning_curve import Measured
from training.measuring.splits import Split
from training.orphans import alone
from training.points import Plan, Point, Trainings, planned_epochs
from training.reporting import learning_curve as reporting
from training.reporting import package
from training.reporting.learning_curve import CurveReport, SizeErrors
from training.reporting.report import RENDERED
from training.searching.space import SEARCH_SHARE
from training.searching.storage import check_address

log = logging.getLogger(__name__)

SEARCHING = 0.3
"""Of ``timeout``, what the short search may take."""
MAIN_JOBS = 2
"""Without ``timeout``, what a curve may cost: so many main jobs."""
SIZED = {"even": "thinned out of", "first": "are the first of"}
"""What the sizes are of all samples, by ``spacing``."""


def run(config: CurveConfig) -> int:
    """Measure, report, print; returns 0.

    Raises :class:`~recording.exceptions.GazeError` for whatever the user can mend.
    """
    began = time.monotonic()
    asked = replace(config.job(), timeout=SEARCHING * config.timeout / SEARCH_SHARE)
    asked.space()
    choose_device(config.device)
    if config.storage:
        check_address(config.storage)  # before MLflow keeps it as a parameter: it may have a password
    name = config.study or f"curve-{datetime.now():%Y%m%d-%H%M%S}"
    folder = Path(config.work)
    with tracking.tracked_run(f"curve-{config.model or name}") as run_id:
        tracking.log_parameters(asdict(config))
        mlflow.set_tags({"study": name, "git_commit": tracking.git_commit()})
        workplace.check(folder, *job.written(asked), f"studies/{name}")
        check_artifacts(run_id)  # now, not when there are figures to keep
        known = _known(config, folder / "studies" / name)
        if known:
            asked = replace(asked, freeze=known.config.freeze, bn=known.config.bn)
        base = checkpoints.load_base(config.base)
        data = job.prepare_data(asked)
        split = job.split_of(asked, data)
        overlap.check(data, split)
        label_frames = label_frame.together(data.drives, config.label_frame)
        package.check_lineage(data, split, base.holdout)
        _check_spacing(config.spacing, data, split)
        sizes = subsets.ladder(config.asked_sizes(), len(data), len(split.train))
        job.describe(data, split)
        with closing(ActivationCache(folder / "cache")) as cache, tempfile.TemporaryDirectory(dir=folder) as scratch:
            used = dataset(data, cache, split.train, split.validation, config.seed)
            work = Job(asked, name, run_id, base, data, split, used, cache, label_frames)
            starts = bases.prepare(work, Path(scratch))
            configuration = known or chosen.searched(work, starts, folder / "studies" / name)
            log.info("configuration of %s: %s", configuration.source, _in_words(configuration))
            deadline = began + config.timeout if config.timeout else math.inf
            points = _measure(config, work, starts, configuration, sizes, deadline)
            report = _report(config, work, starts, configuration, points)
        reporting.log(report)
        mlflow.log_metric("seconds/curve", time.monotonic() - began)
        print(f"\n{report.printed()}\n\n{report.configuration}\nlook at it: mlflow ui (figures/learning_curve.png)")
    return 0


def _check_spacing(spacing: str, data: Recordings, split: Split) -> None:
    """:class:`InputError` where the first minutes of several drives would be those of the first drive alone."""
    drives = _trained_drives(data, split)
    if spacing == "first" and drives > 1:
        raise InputError(
            f"spacing=first: what recording longer would have brought is asked of one drive, and {drives} are trained "
            "on; leave it at even, or give one drive"
        )


def _trained_drives(data: Recordings, split: Split) -> int:
    return len(np.unique(data.drive_index[split.train]))


def _known(config: CurveConfig, study: Path) -> Chosen | None:
    """The configuration of the version or search that was named; ``None`` where it is to be searched for."""
    return chosen.from_version(config.model) if config.model else chosen.from_study(study, config.storage)


def plans(config: CurveConfig, work: Job, configuration: Chosen, sizes: tuple[int, ...]) -> list[Plan]:
    """All trainings, in the order in which they are run: every size once before any is repeated."""
    train, found = work.split.train, []
    counts = {size: subsets.share(size, len(work.recordings), len(train)) for size in sizes}
    for repeat in range(config.repeats):
        order = subsets.order(len(train), config.spacing, repeat, config.seed)
        for size, count in counts.items():
            epochs = planned_epochs(configuration.config, count, len(train), config.epochs_max)
            batch = min(configuration.config.batch_size, work.config.space().settled(count).batch_size)
            mine = replace(configuration.config, epochs=epochs, batch_size=batch, seed=config.seed + repeat)
            found.append(Plan(size, repeat, np.sort(train[order[:count]]), mine))
    return found


def affordable(wanted: list[Plan], cost: Cost, split: Split) -> list[Plan]:
    """Of these trainings those that keep the curve within :data:`MAIN_JOBS` main jobs, in their order.

    Every size is trained once and the first of the repeats is run whatever it costs: there is no forecast without.
    """
    left = MAIN_JOBS * cost.main_seconds(len(split.final)) - cost.spent_seconds
    found, repeated = [], False
    for plan in wanted:
        takes = _seconds([plan], cost, split)
        if plan.repeat == 0 or not repeated or takes <= left:
            found.append(plan)
            left -= takes
            repeated = repeated or plan.repeat > 0
    return found


def _planned(config: CurveConfig, work: Job, configuration: Chosen, sizes: tuple[int, ...]) -> list[Plan]:
    """All trainings, or without ``timeout`` as many as may be; how long they take, and why so many, is said."""
    wanted, cost = plans(config, work, configuration, sizes), configuration.cost
    if cost is None:
        log.info("%d trainings; how long main jobs take is not known here: timeout= bounds the curve", len(wanted))
        return wanted
    main = cost.main_seconds(len(work.split.final))
    chosen = wanted if config.timeout else affordable(wanted, cost, work.split)
    said = f"{len(chosen)} trainings, {_seconds(chosen, cost, work.split) / 60:.1f} min at most"
    if len(chosen) < len(wanted):
        minutes = _seconds(wanted, cost, work.split) / 60
        said += (
            f"; repeats={config.repeats} asks for {len(wanted)} ({minutes:.1f} min), with which the curve would cost "
            f"more than {MAIN_JOBS} main jobs ({main / 60:.1f} min each, by what trials took); timeout= allows what "
            "the time does"
        )
    log.info("%s", said)
    return chosen


def _seconds(planned: list[Plan], cost: Cost, split: Split) -> float:
    """What these trainings take at most: each may stop early."""
    return sum(cost.training_seconds(plan.config.epochs, len(plan.train), len(split.train)) for plan in planned)


def _measure(
    config: CurveConfig, work: Job, starts: Bases, configuration: Chosen, sizes: tuple[int, ...], deadline: float
) -> list[Point]:
    """Run the trainings that are not known yet, as far as the time goes; raises :class:`GazeError` without a result."""
    with _curve_folder(work, configuration) as (folder, key):
        trainings = Trainings(work, starts, configuration.config, folder, key)
        wanted = _planned(config, work, configuration, sizes)
        points: list[Point] = []
        took: dict[int, float] = {}
        with tqdm(total=len(wanted), desc="Trainings", unit="training") as progress:
            for plan in wanted:
                point = trainings.known(plan)
                if point:
                    trainings.log_known(point)
                elif points and time.monotonic() + took.get(plan.size, max(took.values())) > deadline:
                    continue
                else:
                    point = trainings.run(plan)
                progress.update()
                if point:
                    points.append(point)
                    took[plan.size] = point.seconds
                    progress.set_postfix_str(f"{plan.name}: {trainings.errors(point).angular.mean:.2f}°")
        if not points:
            raise GazeError("curve: every training diverged; give another configuration (study=, model=) or base")
        if len(points) < len(wanted):
            log.warning(
                "%d of %d trainings were done (timeout=%g s; others diverged, if that was not it): the same command "
                "with study=%s goes on with the rest", len(points), len(wanted), config.timeout, work.study,
            )  # fmt: skip
        return points


@contextmanager
def _curve_folder(work: Job, configuration: Chosen) -> Iterator[tuple[Path, str]]:
    """Where finished trainings on this drive with this configuration lie, and its key; ours alone while we measure.

    Runs that a kill of the same curve left RUNNING are ended.
    """
    made_of = {
        "format": 2,  # 1: answers as they were trained
        "data": work.recordings.digest, "face": work.recordings.cut_in_words(), "split": work.split.digest(),
        "base": work.base.digest, "config": asdict(configuration.config) | {"seed": work.config.seed},
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(work.config.work) / "curves" / key
    with alone(folder, work.run_id, "curve", key, "measures this very curve"):
        yield folder, key


def _report(config: CurveConfig, work: Job, starts: Bases, configuration: Chosen, points: list[Point]) -> CurveReport:
    before = _before(work, starts)
    forecast = learning_curve.forecast(measured(work, points), config.seed)
    rival = min((name for name in before if name in BASELINES), key=lambda name: before[name].angular.mean)
    about = outlook.Circumstances(
        config.spacing,
        _usable(work),
        BASELINES[rival],
        before[rival].angular.mean,
        config.target_deg,
        frozen=configuration.config.freeze == "backbone",
        several=_trained_drives(work.recordings, work.split) > 1,
    )
    return CurveReport(
        _title(config.spacing, work.recordings, work.split),
        reporting.baselines(before),
        tuple(_size(work, trained) for trained in _by_size(points)),
        forecast,
        outlook.sentences(forecast, about),
        f"Trained with the configuration of {configuration.source}: {_in_words(configuration)}",
        config.target_deg,
    )


def _title(spacing: str, data: Recordings, split: Split) -> str:
    source = RENDERED if data.rendered else "recording"
    leaking = ", LEAKING random split" if split.leaking else ""
    return (
        f"{source}, {len(split.test)} held-out samples (split={split.name}{leaking}), "
        f"sizes {SIZED[spacing]} {len(data):,} samples (spacing={spacing})"
    )


def _before(work: Job, starts: Bases) -> dict[str, MeasuredErrors]:
    """The base as it is and all baselines, fitted on the whole training part, on the test samples."""
    split, labels, test = work.split, work.recordings.labels_deg, work.split.test
    nothing = np.array([], dtype=np.int64)
    tested = replace(work.samples, train=nothing, validation=test, augmentation=None)
    source = features(work.base.network, "backbone", tested, work.cache, work.device)
    tail = model.cut(work.base.network, "backbone")[1].to(work.device)
    base_deg = pitch_yaw_to_deg(predict(tail, source, test))
    answers = {"base": base_deg, **baselines.fit(starts.answers_deg, labels[split.train]).answers(base_deg)}
    return {name: measure(answer, labels[test], split.block[test]) for name, answer in answers.items()}


def measured(work: Job, points: list[Point]) -> Measured:
    """The 3-D errors of all trainings, by size and time block."""
    test, block = work.recordings.labels_deg[work.split.test], work.split.block[work.split.test]
    by_size = _by_size(points)
    errors = [
        np.array([block_means(per_sample(one.answers_deg, test)[:, 2], block) for one in trained])
        for trained in by_size
    ]
    sizes = np.array([trained[0].plan.size for trained in by_size])
    return Measured(sizes, tuple(errors), np.unique(block, return_counts=True)[1])


def _by_size(points: list[Point]) -> list[list[Point]]:
    return [[one for one in points if one.plan.size == size] for size in sorted({one.plan.size for one in points})]


def _size(work: Job, trained: list[Point]) -> SizeErrors:
    labels, block = work.recordings.labels_deg[work.split.test], work.split.block[work.split.test]
    errors = np.mean([per_sample(one.answers_deg, labels) for one in trained], axis=0)
    minutes = float(np.mean([one.seconds for one in trained])) / 60
    plan = trained[0].plan
    return SizeErrors(plan.size, len(plan.train), len(trained), summarise(errors, labels, block), minutes)


def _usable(work: Job) -> int:
    """Usable rows of the recording, as its prepared folder says; 0 where it does not, or there are several."""
    if len(work.recordings.drives) > 1:
        return 0
    path = work.recordings.drives[0].folder / DRIVE
    return int(files.read_json(path).get("labels", {}).get("usable", 0)) if path.is_file() else 0


def _in_words(configuration: Chosen) -> str:
    config = configuration.config
    return f"freeze={config.freeze}, bn={config.bn}, head={config.head}, lr={config.lr:.2e}, {config.epochs} epochs"
