"""The search: what is proposed when, what becomes of trials that end, and what an interruption leaves."""

import random
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import trials
from mlflow.exceptions import MlflowException
from optuna.trial import FrozenTrial, TrialState, create_trial
from trials import Scripted, described

from recording.exceptions import RegistryError
from training.searching.search import Search
from training.searching.space import SearchSpace
from training.searching.study import SearchResult, Study

IDENTITY = {"data": "a", "seed": 0}
SAMPLES = 1000


def searched(
    folder: Path, space: SearchSpace, workers: Scripted | None = None, describe=described
) -> tuple[SearchResult, list[FrozenTrial]]:
    """What a search in this folder found, and the trials that are finished then."""
    study = Study(folder, "one", space, IDENTITY, SAMPLES)
    try:
        found = Search(study, workers or Scripted(), describe).run(space.search_seconds())
        return found, study.finished()
    finally:
        study.close()


def as_before_there_were_workers(space: SearchSpace) -> list[dict]:
    """What one trial after the other proposes, written out: nothing but the seed and the results before decides."""
    study = optuna.create_study()
    for parameters in space.opening(SAMPLES):
        study.enqueue_trial(parameters)
    for finished in range(space.trials):
        drawn = int(np.random.SeedSequence([space.seed, finished]).generate_state(1)[0])
        startup = len(space.opening(SAMPLES)) + 2
        study.sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=startup)
        asked = study.ask()
        config = space.suggest(asked)
        ((_, result),) = trials.done(SimpleNamespace(config=config, checkpoint=SimpleNamespace(touch=lambda: None)))
        study.tell(asked, result.value)
    return [trial.params for trial in study.trials]


def test_one_worker_proposes_bit_for_bit_what_was_proposed_before_there_were_workers(tmp_path):
    space = SearchSpace(trials=15, seed=3)
    _, finished = searched(tmp_path, space)
    assert [trial.params for trial in finished] == as_before_there_were_workers(space)
    for trial in finished:
        assert trial.user_attrs["proposed_after"] == list(range(trial.number))
        assert trial.user_attrs["proposed_beside"] == []


def proposed_again(trial: FrozenTrial, all_trials: list[FrozenTrial], space: SearchSpace) -> dict:
    """The parameters of a trial from its record alone: the seed, what was known, and what ran beside."""
    after, beside = trial.user_attrs["proposed_after"], trial.user_attrs["proposed_beside"]
    study = optuna.create_study()
    for other in all_trials[: trial.number]:
        known = other.number in after
        state = other.state if known else TrialState.RUNNING if other.number in beside else TrialState.FAIL
        study.add_trial(
            create_trial(
                params=other.params,
                distributions=other.distributions,
                value=other.value if known else None,
                state=state,
            )
        )
    drawn = int(np.random.SeedSequence([space.seed, len(after) + len(beside)]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=len(space.opening(SAMPLES)) + 2)
    asked = study.ask()
    return asdict(space.suggest(asked))


def test_with_several_workers_the_record_of_a_trial_determines_what_was_proposed(tmp_path):
    space, luck = SearchSpace(trials=20), random.Random(1)
    workers = Scripted(size=3, who=luck.choice)
    found, finished = searched(tmp_path, space, workers)
    assert workers.most == 3
    assert len(finished) == 20
    drawn = [trial for trial in found.trials if "fixed_params" not in trial.system_attrs]
    assert len(drawn) > 10
    assert any(trial.user_attrs["proposed_after"] != list(range(trial.number - 2)) for trial in drawn)
    for trial in drawn:
        assert len(trial.user_attrs["proposed_beside"]) == 2
        assert proposed_again(trial, found.trials, space) == trial.user_attrs["config"]
    assert len({str(trial.params) for trial in finished}) == 20, "the same random numbers twice"


def test_results_that_come_while_a_trial_runs_are_on_the_record_of_what_judged_it(tmp_path):
    """Trial 1 is judged after epoch 1 without, after epoch 2 with what trial 0 came to meanwhile."""

    def script(spec):
        if spec.number == 0:
            return [("epoch", trials.epoch(3.0, 1)), *trials.done(spec)]
        return [("epoch", trials.epoch(3.0, 1)), ("epoch", trials.epoch(3.0, 2)), *trials.done(spec)]

    turns = iter([1, 0, 0, 1, 1])
    found, _ = searched(tmp_path, SearchSpace(trials=2), Scripted(script, size=2, who=lambda running: next(turns)))
    first, second = found.trials[:2]
    assert "judged_after" not in first.user_attrs
    assert second.user_attrs["judged_after"] == {"2": [0]}


def test_a_trial_that_fails_or_dies_takes_nobody_along(tmp_path):
    def script(spec):
        return {1: [("failed", "ValueError: no")], 2: [("lost", "signal SIGKILL")]}.get(spec.number, trials.done(spec))

    found, finished = searched(tmp_path, SearchSpace(trials=6), Scripted(script, size=3))
    errors = {trial.number: trial.user_attrs["error"] for trial in finished if trial.state == TrialState.FAIL}
    assert errors == {1: "ValueError: no", 2: "signal SIGKILL"}
    assert len(found.ran()) == len(finished) == 6


def test_a_trial_whose_machine_is_gone_goes_on_elsewhere_three_times(tmp_path):
    """A machine's end is not the trial's fault; one that takes every machine along is given up."""
    states: dict[str, list[Path]] = {"one machine": [], "every machine": []}

    def script(spec):
        freeze = spec.config.freeze
        if freeze == "layer3":
            states["every machine"].append(spec.state)
            return [("cut off", "its node is gone")]
        if freeze == "none" and not states["one machine"]:
            states["one machine"].append(spec.state)
            return [("epoch", trials.epoch(3.0)), ("cut off", "its node is gone")]
        if freeze == "none" and len(states["one machine"]) == 1:
            states["one machine"].append(spec.state)
        return trials.done(spec)

    _, finished = searched(tmp_path, SearchSpace(trials=6), Scripted(script, size=2))
    assert len(finished) == 6
    assert len(set(states["one machine"])) == 1, "it does not go on where it was"
    assert states["every machine"][:4] == [states["every machine"][0]] * 4
    failed = [trial for trial in finished if trial.state == TrialState.FAIL]
    assert {trial.user_attrs["error"] for trial in failed} == {"its node is gone"}
    assert {trial.params["freeze"] for trial in failed} == {"layer3"}


def test_an_interruption_ends_all_and_all_of_them_are_tried_again(tmp_path):
    def interrupted(running):
        raise KeyboardInterrupt

    workers = Scripted(size=3, who=interrupted)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, SearchSpace(trials=5), workers)
    assert workers.running == {}, "a trial runs on"
    study = Study(tmp_path, "one", SearchSpace(trials=5), IDENTITY, SAMPLES)
    assert study.study.get_trials(states=(TrialState.RUNNING,)) == []
    cut_off = [trial.params for trial in study.study.get_trials(states=(TrialState.FAIL,))]
    study.close()
    assert len(cut_off) == 3
    _, finished = searched(tmp_path, SearchSpace(trials=5), Scripted(size=3))
    again = [trial.params for trial in finished]
    assert len(again) == 5
    assert [parameters for parameters in cut_off if parameters not in again] == []


def test_an_interruption_behind_the_last_word_of_a_trial_does_not_run_it_twice(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.searching.search.end_run", interrupted)  # its failure is in the study by then
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, SearchSpace(trials=5), Scripted(lambda spec: [("failed", "ValueError: no")]))
    study = Study(tmp_path, "one", SearchSpace(trials=5), IDENTITY, SAMPLES)
    (failed,), waiting = study.finished(), study.study.get_trials(states=(TrialState.WAITING,))
    study.close()
    assert failed.params not in [trial.system_attrs["fixed_params"] for trial in waiting]


def test_an_interruption_stays_one_when_mlflow_is_away(tmp_path, monkeypatch):
    def interrupted(running):
        raise KeyboardInterrupt

    def refused(*_):
        raise MlflowException("Connection refused")

    monkeypatch.setattr("training.searching.search.end_run", refused)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, SearchSpace(trials=3), Scripted(size=1, who=interrupted))


def test_a_trial_that_mlflow_did_not_hear_is_not_lost(tmp_path):
    """Held for too long, or a server that is away: the search ends, and its trial is tried again when it goes on."""
    told = [("run", None), ("untracked", "MLflow at sqlite:///mlflow.db: database is locked")]
    with pytest.raises(RegistryError, match="database is locked; then resume with study=one"):
        searched(tmp_path, SearchSpace(), Scripted(lambda spec: told))
    study = Study(tmp_path, "one", SearchSpace(), IDENTITY, SAMPLES)
    assert study.finished() == []
    waiting = study.study.get_trials(states=(TrialState.WAITING,))
    study.close()
    assert SearchSpace().opening(SAMPLES)[0] in [trial.system_attrs["fixed_params"] for trial in waiting]


def test_the_checkpoint_of_a_trial_that_has_not_told_its_result_yet_is_kept(tmp_path):
    """It is written before the result is heard, and another trial's end removes what is not the best."""
    best = iter([3.0, 2.0])

    def script(spec):
        spec.checkpoint.touch()
        return [("done", trials.result(next(best)))]

    found, _ = searched(tmp_path, SearchSpace(trials=2), Scripted(script, size=2))
    assert found.best.number == 1
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["trial-001.safetensors"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_resumed_study_counts_the_cache_seconds_of_its_own_session(tmp_path, workers):
    """The job takes them off the seconds of its search, which came out negative; several trials' pass at once."""

    def script(spec):
        spec.checkpoint.touch()
        return [("done", trials.result(2.0, cache_seconds=100))]

    for number, expected in ((2, 200.0), (3, 100.0), (3, 0.0)):
        found, _ = searched(tmp_path, SearchSpace(trials=number), Scripted(script, workers))
        assert found.cache_seconds == expected / workers


def drawn(folder: Path, interrupted: bool) -> list[dict]:
    """The parameters of ten trials after each other; the ninth is cut off and resumed, or not."""
    if interrupted:
        searched(folder, SearchSpace(trials=8))
        study = Study(folder, "one", SearchSpace(trials=8), IDENTITY, SAMPLES)
        study.propose()  # cut off by a kill
        study.close()
    _, finished = searched(folder, SearchSpace(trials=10))
    return [trial.params for trial in finished]


def test_a_resumed_search_draws_what_an_uninterrupted_one_does(tmp_path):
    whole = drawn(tmp_path / "a", interrupted=False)
    resumed = drawn(tmp_path / "b", interrupted=True)
    assert len(whole) == 10
    assert resumed == whole
    assert len({str(trial) for trial in whole}) == len(whole), "the same random numbers again and again"


def test_what_is_different_only_once_is_trained_once(tmp_path):
    point = {"freeze": ("backbone",), "lr_min": 1e-3, "lr_max": 1e-3, "epochs_min": 2}
    for options, runs in (
        ({"bn": ("target",), "epochs_max": 2}, 4),  # as many as there are starts of the head
        ({"bn": ("source", "target"), "epochs_max": 2}, 8),
        ({"bn": ("source", "target"), "epochs_max": 3}, 9),
    ):
        space = SearchSpace(trials=9, **point, **options)
        _, finished = searched(tmp_path / str(runs), space, Scripted(size=2))
        different = {tuple(sorted(trial.params.items())) for trial in finished}
        assert len(different) == len(finished) == space.runs() == runs


@pytest.mark.parametrize(
    ("cut_off", "ended", "chosen"),
    [
        ((5.5, 2.9, 2.3), "timeout", 1),  # its next step will do: 2.3 less half of 0.6
        ((5.5, 2.9, 2.3), "complete", 0),  # it had its time
        ((5.5, 2.45, 2.4), "timeout", 0),  # it hardly got better any more
        ((5.5, 2.3), "timeout", 0),  # a first step says nothing
    ],
)
def test_a_trial_that_the_time_cut_off_while_it_got_better_is_chosen_before_one_that_ended(
    tmp_path, cut_off, ended, chosen
):
    def script(spec):
        spec.checkpoint.touch()
        if not spec.number:
            return [("done", trials.result(2.2))]
        said = [("epoch", trials.epoch(value, number)) for number, value in enumerate(cut_off)]
        last = replace(trials.result(cut_off[-1]), best=trials.epoch(cut_off[-1], len(cut_off) - 1), ended=ended)
        return [*said, ("done", last)]

    found, _ = searched(tmp_path, SearchSpace(trials=2), Scripted(script))
    assert found.best.number == chosen
    assert found.checkpoint.exists()


def test_a_search_whose_time_is_up_ends_with_what_it_has(tmp_path):
    left = []

    def describe(number, config, checkpoint, seconds_left):
        left.append(seconds_left)
        if len(left) == 2:
            time.sleep(max(seconds_left, 0) + 0.01)  # the trials end when their time is up
        return described(number, config, checkpoint, seconds_left)

    found, _ = searched(tmp_path, SearchSpace(trials=50, timeout=4), Scripted(size=2), describe)
    assert len(found.ran()) == 2
    assert all(0 < seconds <= 4 for seconds in left)


def test_after_a_trial_that_the_time_cut_off_none_is_begun_in_the_seconds_left(tmp_path):
    def script(spec):
        spec.checkpoint.touch()
        return [("done", replace(trials.result(3.0), ended="timeout" if spec.number == 2 else "complete"))]

    found, _ = searched(tmp_path, SearchSpace(trials=9, timeout=600), Scripted(script))
    assert [trial.number for trial in found.ran()] == [0, 1, 2]


def test_while_a_head_on_the_frozen_backbone_is_the_best_a_trial_may_take_what_its_final_training_leaves(tmp_path):
    specs = []

    def script(spec):
        specs.append(spec)
        return trials.done(spec)  # the fewer letters its freeze choice has, the better: "none" wins

    space = SearchSpace(trials=6, timeout=600)
    study = Study(tmp_path, "one", space, IDENTITY, SAMPLES)
    try:
        Search(study, Scripted(script), described).run(space.search_seconds(), space.search_seconds_at_most())
    finally:
        study.close()
    by_freeze = {spec.config.freeze: spec for spec in specs}
    heads = [2 + spec.config.lr * spec.config.epochs + 0.8 for spec in specs if spec.config.freeze == "backbone"]
    assert specs[0].to_beat is None
    assert by_freeze["none"].to_beat == pytest.approx(min(heads))
    assert by_freeze["layer2"].to_beat is None  # "none" leads, and its final training takes its time
    assert by_freeze["none"].seconds_left <= 330 < 500 < by_freeze["none"].seconds_at_most <= 510


@pytest.mark.parametrize("deadline_s", [0.0, 600.0])
def test_a_trial_does_not_use_up_the_time_of_one_that_beat_the_head_beside_it(tmp_path, deadline_s):
    """Two at once that may overrun, as a head leads; "none" ends and leads, the other one is told to end."""
    space, found = SearchSpace(trials=4, timeout=600, freeze=("backbone", "layer3", "none")), {}
    study = Study(tmp_path, "one", space, IDENTITY, SAMPLES)

    def script(spec):
        found[spec.number] = spec
        said = trials.done(spec)
        return said if spec.config.freeze != "layer3" else [*[("epoch", trials.epoch(9.0, k)) for k in range(3)], *said]

    workers = Scripted(script, size=2)
    search = Search(study, workers, described)
    hear = workers.hear

    def heard(timeout):
        said = hear(timeout)
        if any(kind == "epoch" for _, kind, _ in said):
            search._deadline = time.monotonic() + deadline_s
        return said

    workers.hear = heard
    try:
        search.run(600.0, 600.0)
    finally:
        study.close()
    (slow,) = (number for number, spec in found.items() if spec.config.freeze == "layer3")
    assert {go_on for number, go_on in workers.answers if number == slow} == {bool(deadline_s)}
