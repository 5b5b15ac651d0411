"""Errors of a registered model on a drive: the ``evaluate`` entry point.

On the drive that the model was trained on, only its held-out frames count. On another drive every frame counts;
the constant and the calibration are then fitted on these very frames, which flatters them, and is said.
"""

import logging
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import mlflow
import numpy as np

from recording import label_frame, relative_to
from recording.exceptions import InputError
from recording.recordings import Recordings
from recording.scenarios import COUNT, scenarios
from registry import faces, lineage, opening, registration, resolving, versions
from registry.addresses import Selector, base_name
from registry.contract import Contract
from registry.crop import Crop
from registry.holdout import Holdout
from registry.network import Network
from registry.versions import Version
from training import job, tracking, workplace
from training.config import EvaluateConfig
from training.learning import pictures
from training.learning.cache import ActivationCache
from training.measuring import baselines, drivers
from training.measuring.errors import measure
from training.reporting import drivers as by_driver
from training.reporting import figures
from training.reporting.report import RENDERED, scenario_table, side_by_side

log = logging.getLogger(__name__)

CANNOT_TELL = (
    "%s: WHETHER THE MODEL WAS TRAINED ON %d OF THESE %d PICTURES CANNOT BE TOLD: a bare folder does not say when they "
    "were shown, and only part of a recording's frames are kept to compare with; %d others are known from the training "
    "and left out; of a folder that prepare makes of the recording all can be told"
)


def run(config: EvaluateConfig) -> int:
    """Evaluate, print the tables, log them to a run; returns 0."""
    wanted = config.job()
    with tracking.tracked_run("evaluate") as run_id, tempfile.TemporaryDirectory() as scratch:
        workplace.check(Path(config.work), *job.written(wanted))
        registration.check_artifacts(run_id)  # now, not when there are figures to keep
        found = resolving.find(Selector.parse(config.model))
        package = opening.fetch(found.model, found.version, found.seal, Path(scratch) / "model")
        given = job.load_data(wanted, face_asked=None)
        check_scenarios(config.scenarios, len(given))
        data = cut(given, package.contract.crop)
        kept = package.holdout()
        compare_frames(data, package.contract, kept)
        chosen, scope = held_out(data, kept)
        promised = package.contract
        base = versions.made_from(base_name(found.model), promised.digests.base, promised.crop.face_in_words)
        with closing(ActivationCache(Path(config.work) / "cache")) as cache:
            answer = partial(pictures.predict, crops=pictures.array(data, cache), chosen=chosen)
            answers = {"model": answer(package.network())}
            answers = _baselines(base, Path(scratch), answer, data.labels_deg[chosen]) | answers
        _report(config, f"{found.model} version {found.version}", scope, data, chosen, answers)
    return 0


def check_scenarios(wanted: int, samples: int) -> None:
    """:class:`InputError` for more parts than there are samples; the usual number is taken of few samples as well."""
    if wanted > max(samples, COUNT):
        raise InputError(f"scenarios={wanted}: of {samples} samples; give at most as many scenarios as samples")


def cut(data: Recordings, crop: Crop) -> Recordings:
    """The drives with the face rectangle that the version reads; each one's own, where it is to be found on each."""
    advice = "give a drive that shows it from the front, or prepare this one with face=x,y,w,h"
    promised = faces.settle(crop, [faces.Shown.of(drive) for drive in data.drives], advice)
    return data.cut_to(tuple(one.rectangle for one in promised))


def compare_frames(data: Recordings, promised: Contract, kept: Holdout) -> None:
    """Say so where the angles of a drive count from something else than those of the model, or may do so.

    Of a recording that the model learnt from or was tested on, what the main job was told counts: it is known what the
    labels look like, and was said then.
    """
    told, model = promised.told_label_frame, promised.output
    for index, drive in enumerate(data.drives):
        if told and is_own(data, index, kept):
            found = label_frame.of(drive, told)
            log.log(logging.WARNING if found.is_loud else logging.INFO, "%s: %s", drive.name, found.line())
            continue
        found = label_frame.of(drive)
        if said := relative_to.doubt(found.relative_to, model.label_frame):
            answers = f"THE MODEL ANSWERS RELATIVE TO {model.relative_to.upper()}"
            log.warning("%s: %s; %s: %s", drive.name, found.line(), answers, said)


def is_own(data: Recordings, index: int, kept: Holdout) -> bool:
    """Whether the model, or one that it was fine-tuned from, learnt from a drive or was tested on it."""
    return kept.knows(lineage.of(data, np.arange(len(data)), index))


def held_out(data: Recordings, kept: Holdout) -> tuple[np.ndarray, str]:
    """Indices of the samples that the model cannot have learnt, and what they are, in words.

    Frames of the model's own drive within a second of one that it was trained or validated on do not count. Of a bare
    folder it may not be known; that is said.
    """
    allowed, doubted = np.ones(len(data), dtype=bool), 0
    for index, drive in enumerate(data.drives):
        mine = data.drive_index == index
        shown = lineage.of(data, mine, index)
        seen, told = kept.saw_bare(shown) if drive.is_bare else (kept.saw(shown), np.ones(mine.sum(), dtype=bool))
        allowed[mine] = ~seen
        if not told.all():
            doubted += int((~told).sum())
            log.warning(CANNOT_TELL, drive.name, (~told).sum(), len(told), seen.sum())
    if not allowed.any():
        own = "; what its twin did on the test blocks is in its contract (final=all)" * bool(kept.twin)
        raise InputError(
            f"evaluate: the model was trained on (neighbours of) every frame given; give another drive{own}"
        )
    source = RENDERED if data.rendered else "recording"
    if doubted:
        source = f"{source} (whether it was trained on {doubted} of the samples cannot be told)"
        words = f"{allowed.sum()} of {len(data)} samples"
    elif allowed.all():
        words = f"all {len(data)} samples, none of them near a training frame"
    else:
        words = f"{allowed.sum()} held-out of {len(data)} samples (the model's own drive)"
    return np.flatnonzero(allowed), f"{source}, {words}"


def _baselines(
    base: Version | None, scratch: Path, answer: Callable[[Network], np.ndarray], labels: np.ndarray
) -> dict[str, np.ndarray]:
    """The constant and, where the model's own base is registered, that and its calibration; fitted on these labels.

    ``answer``: what a network says to the samples.
    """
    answers = {"constant": baselines.fit_constant(labels).predict(len(labels))}
    if base is None:
        log.info("the base that this version came from is not registered: nothing to compare with but the constant")
        return answers
    package = opening.fetch(base.model_name, base.number, base.seal, scratch / "base")
    base_deg = answer(package.network())
    calibrated = baselines.fit_calibration(base_deg, labels).predict(base_deg)
    return {"base": base_deg, **answers, "calibrated": calibrated}


def _report(
    config: EvaluateConfig, title: str, scope: str, data: Recordings, chosen: np.ndarray, answers: dict[str, np.ndarray]
) -> None:
    labels = data.labels_deg[chosen]
    scenario = scenarios(data.frames, data.drive_index, config.scenarios)[chosen]
    block = data.drive_index[chosen] * config.scenarios + scenario
    errors = {who: measure(answer, labels, block) for who, answer in answers.items()}
    table = scenario_table(data, chosen, scenario, answers, config.scenarios)
    print(f"{title} on {scope}")
    print("constant and calibration are fitted on these very samples, which flatters them")
    print("\n".join(side_by_side(errors)))
    for who, measured in errors.items():
        mlflow.log_metrics(measured.metrics("test" if who == "model" else who))
    shown = ["scenario", "samples", "model_azimuth_error_deg", "model_elevation_error_deg", "model_angular_error_deg"]
    print(table[shown].to_string(index=False, na_rep="–"))
    mlflow.log_table(table, "tables/scenarios.json")
    if config.drives:
        _by_driver(title, data, chosen, answers)
    mlflow.log_figure(figures.before_after(errors, f"{title}, {scope}"), "figures/before_after.png")
    mlflow.log_figure(figures.predicted_vs_true(answers, labels), "figures/predicted_vs_true.png")
    mlflow.set_tags({"evaluated": config.model, "evaluated_version": title, "scope": scope})
    plt.close("all")


def _by_driver(title: str, data: Recordings, chosen: np.ndarray, answers: dict[str, np.ndarray]) -> None:
    """Errors by driver, where a list says who drives."""
    what = f"error of {title} on samples that it has not learnt from"
    driver, labels = data.driver_index[chosen], data.labels_deg[chosen]
    found = drivers.measure(data.drivers, driver, data.drives_of, answers, labels, what)
    print(by_driver.printed(found))
    mlflow.log_metrics(found.metrics("drivers"))
    mlflow.log_table(by_driver.table(found), "tables/drivers.json")
    mlflow.log_figure(by_driver.figure(found), "figures/drivers.png")
