"""The curve: nested subsets on one split, a child run a training, nothing trained twice, bad sizes in one line."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import drives
import mlflow
import numpy as np
import optuna
import pytest
import torch

from recording.exceptions import GazeError
from training import chosen, cli, curve, points
from training.config import CurveConfig
from training.learning import finetune, model
from training.learning.augmentation import Augmentation
from training.learning.finetune import TrialConfig
from training.learning.trunk import Dataset
from training.points import planned_epochs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return drives.prepared_folder(tmp_path_factory.mktemp("data") / "samples", n=90, fps=1)


QUICK = ["--freeze", "backbone", "--bn", "source", "--trials", "1", "--epochs_max", "1", "--study", "mine"]


def refused(*arguments: str) -> str:
    """The one line with which the command is refused."""
    with pytest.raises(GazeError) as error:
        cli.main(["curve", *arguments])
    assert "\n" not in str(error.value)
    return str(error.value)


def runs(filter_string: str) -> list[mlflow.entities.Run]:
    return mlflow.search_runs(search_all_experiments=True, output_format="list", filter_string=filter_string)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sizes", "100,many"], "'many' is no number of samples"),
        (["--sizes", "0,100"], "'0' is no number of samples"),
        (["--sizes", "80"], "sizes=80: a curve needs two sizes"),
        (["--sizes", "500,2000"], "sizes=2000: there are 1000 samples"),  # before they are extracted
        (["--timeout", "-1"], "timeout=-1: must be"),
        (["--epochs_max", "0"], "epochs_max=0: must be"),
        (["--repeats", "0"], "repeats=0"),
        (["--spacing", "odd"], "choose one of even, first"),
        (["--target_deg", "-1"], "target_deg=-1"),
        (["--model", "models:/gaze-tracker/1", "--study", "mine"], "give one of them"),
        (["--model", "gaze-tracker"], "not a model address"),
        (["--storage", "postgresql+psycopg2://gaze@db/gaze"], "says where the search study= is kept: name it"),
        (["--storage", "sqlite:///a.db", "--study", "june"], "several processes need PostgreSQL"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused(arguments, says):
    assert says in refused(*arguments)


def test_sizes_that_the_drive_does_not_have_end_the_run_in_one_line(tracking, folder):
    line = refused("--data", str(folder), "--sizes", "40,2000")
    assert "sizes=2000: there are 90 samples" in line
    (run,) = runs("")
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", line)


def test_every_size_is_tested_on_the_same_samples_and_nothing_is_trained_twice(tracking, folder, monkeypatch, capsys):
    trained = []
    real = points.finetune

    def watched(tail, examples, config, **options):
        trained.append(examples.train)
        return real(tail, examples, config, **options)

    monkeypatch.setattr(points, "finetune", watched)

    class Stopped(curve.Trainings):
        """Ctrl-C comes in the fourth training."""

        def _train(self, plan):
            if len(trained) == 3:
                trained.append(None)
                raise KeyboardInterrupt
            return super()._train(plan)

    monkeypatch.setattr(curve, "Trainings", Stopped)
    asked = ["curve", "--data", str(folder), *QUICK, "--sizes", "30,60", "--repeats", "2", "--target_deg", "1.5"]
    with pytest.raises(KeyboardInterrupt):
        cli.main(asked)
    assert sorted(run.info.status for run in runs("tags.size != ''")) == ["FINISHED"] * 3 + ["KILLED"]
    (parent,) = runs("params.spacing = 'even'")
    assert (parent.info.status, parent.data.tags["ended"]) == ("KILLED", "interrupted")

    assert cli.main(asked) == 0
    small, large, other_small, _, other_large = trained
    assert (len(small), len(large)) == (len(other_small), len(other_large)) == (17, 33)
    assert set(small) < set(large)
    assert set(small) != set(other_small)
    (parent,) = runs("params.spacing = 'even' and attributes.status = 'FINISHED'")
    children = runs(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.size != ''")
    assert sorted(run.info.run_name for run in children) == [
        "size-00030-0", "size-00030-1", "size-00060-0", "size-00060-1",
    ]  # fmt: skip
    errors = [run.data.metrics["test/angular_error_deg"] for run in children if run.data.tags["size"] == "60"]
    last = mlflow.MlflowClient().get_metric_history(parent.info.run_id, "curve/angular_error_deg")[-1]
    assert last.step == 60
    assert last.value == pytest.approx(np.mean(errors))

    said = capsys.readouterr().out
    assert "Cannot tell what more samples would bring: 2 sizes were measured" in said
    assert parent.data.tags["outlook"] == "cannot tell"
    assert "forecast/rate" not in parent.data.metrics
    artifacts = [a.path for a in mlflow.MlflowClient().list_artifacts(parent.info.run_id, "figures")]
    assert artifacts == ["figures/learning_curve.png"]


def test_the_first_minutes_hold_no_later_sample(tracking, folder, monkeypatch):
    given = []
    monkeypatch.setattr(curve.Trainings, "run", lambda self, plan: given.append(plan))
    assert "every training diverged" in refused("--data", str(folder), *QUICK, "--spacing", "first", "--sizes", "30,60")
    assert all(set(plan.train) == set(given[1].train[: len(plan.train)]) for plan in given)
    assert {plan.config.seed for plan in given} == {0, 1, 2}


class Ninety(SimpleNamespace):
    """As much of recordings as a title needs."""

    def __len__(self):
        return 90


@pytest.mark.parametrize(("spacing", "says"), [("even", "thinned out of 90"), ("first", "are the first of 90")])
def test_the_title_says_what_the_sizes_are(spacing, says):
    split = SimpleNamespace(test=np.arange(14), name="blocks", leaking=False)
    title = curve._title(spacing, Ninety(rendered=False), split)
    assert title == f"recording, 14 held-out samples (split=blocks), sizes {says} samples (spacing={spacing})"


def test_the_first_minutes_of_several_drives_are_no_question():
    two = SimpleNamespace(drive_index=np.repeat([0, 1, 2], 10))
    beside, alone = (SimpleNamespace(train=rows) for rows in (np.arange(15), np.arange(10)))
    with pytest.raises(GazeError, match=r"spacing=first: .* asked of one drive, and 2 are trained on"):
        curve._check_spacing("first", two, beside)
    curve._check_spacing("even", two, beside)
    curve._check_spacing("first", two, alone)  # by-drive: the others validate and test


def test_the_first_minutes_of_several_drives_are_refused_before_anything_is_trained(tracking, tmp_path):
    several = [drives.prepared_folder(tmp_path / name, n=24, seed=seed) for seed, name in enumerate("abcd")]
    given = ("--data", ",".join(map(str, several)), "--split", "by-drive", "--spacing", "first")
    assert "spacing=first: " in refused(*given)
    assert [run.info.status for run in runs("")] == ["FAILED"]


@pytest.fixture
def measuring(tracking) -> tuple[SimpleNamespace, chosen.Chosen]:
    """As much of a job as the folder of its curve needs, and a configuration."""
    with mlflow.start_run() as run:
        pass
    work = SimpleNamespace(
        recordings=SimpleNamespace(digest="d", cut_in_words=str), split=SimpleNamespace(digest=str),
        base=SimpleNamespace(digest="b"), config=SimpleNamespace(seed=0, work="."), run_id=run.info.run_id,
    )  # fmt: skip
    return work, chosen.Chosen(TrialConfig("backbone", "source", 1e-3, 1), "a test")


def test_a_curve_that_another_process_measures_is_left_to_it(measuring):
    with curve._curve_folder(*measuring), pytest.raises(GazeError, match="another process"):
        curve._curve_folder(*measuring).__enter__()


def test_runs_that_a_kill_left_running_are_ended_by_the_next_curve(measuring):
    with curve._curve_folder(*measuring) as (_, key):
        pass
    client = mlflow.MlflowClient()
    killed, other = (client.create_run("0", tags={"curve": tag}).info.run_id for tag in (key, "another"))
    with curve._curve_folder(*measuring):
        pass
    assert client.get_run(killed).info.status == "KILLED"
    assert client.get_run(other).info.status == "RUNNING"


def test_small_sizes_get_more_epochs_up_to_a_limit():
    config = TrialConfig("none", "source", 1e-3, 12, batch_size=16)
    assert planned_epochs(config, 600, 600, 30) == 12  # the largest: as the search did it
    assert planned_epochs(config, 304, 600, 30) == 22  # as many pictures as are enough
    assert planned_epochs(config, 76, 600, 30) == 30
    assert planned_epochs(config, 76, 600, 5) == 12  # never fewer than the configuration has
    brief = TrialConfig("none", "source", 1e-3, 2, batch_size=16)
    assert planned_epochs(brief, 300, 600, 30) == 4  # as many pictures as the largest one sees


def test_a_small_subset_is_trained_in_the_batches_that_the_main_job_takes_for_so_many():
    config = CurveConfig(freeze="backbone", repeats=1)
    work = SimpleNamespace(
        split=SimpleNamespace(train=np.arange(1200)), recordings=np.arange(2000), config=config.job()
    )
    configuration = chosen.Chosen(TrialConfig("none", "source", 1e-3, 12, batch_size=16), "a test")
    small, large = curve.plans(config, work, configuration, (250, 2000))
    assert (len(small.train), small.config.batch_size) == (150, 8)
    assert (len(large.train), large.config.batch_size) == (1200, 16)


def test_a_larger_size_that_is_added_changes_no_training_of_the_others():
    config = CurveConfig(freeze="backbone", repeats=2)
    work = SimpleNamespace(split=SimpleNamespace(train=np.arange(600)), recordings=np.arange(1000), config=config.job())
    configuration = chosen.Chosen(TrialConfig("none", "source", 1e-3, 4, batch_size=8), "a test")
    few, more = (curve.plans(config, work, configuration, sizes) for sizes in ((125, 250), (125, 250, 1000)))
    again = {(plan.name, plan.config, *plan.train) for plan in more}
    assert len(few) == 4
    assert all((plan.name, plan.config, *plan.train) in again for plan in few)


def _curve(epochs: int, cost: chosen.Cost, repeats: int = 3) -> tuple[list[points.Plan], list[points.Plan]]:
    """All trainings of 1,000 samples with halvings, and those that are run where main jobs cost so much."""
    config = CurveConfig(freeze="none", repeats=repeats)
    work = SimpleNamespace(split=SimpleNamespace(train=np.arange(600)), recordings=np.arange(1000), config=config.job())
    configuration = chosen.Chosen(TrialConfig("none", "source", 1e-3, epochs, batch_size=16), "a test", cost)
    wanted = curve.plans(config, work, configuration, (125, 250, 500, 1000))
    return wanted, curve.affordable(wanted, cost, SimpleNamespace(train=np.arange(600), final=np.arange(790)))


def _seconds(planned: list[points.Plan]) -> float:
    """At 0.1 s a sample that is trained on, and 5 s to judge an epoch."""
    return sum(0.1 * plan.config.epochs * len(plan.train) + 5 * (plan.config.epochs + 1) for plan in planned)


def test_repeats_are_cut_where_a_curve_would_cost_more_than_two_main_jobs():
    # Open networks at 0.1 s a sample and 5 s to judge: a main job is 40 min of trials and 6 epochs more on 790 samples.
    cost = chosen.Cost(2400, 0.1, 785, 12, 6, spent_seconds=1200)
    wanted, run = _curve(12, cost)
    assert _seconds(wanted) + 1200 > 2 * cost.main_seconds(790) == pytest.approx(2 * (2400 + 474))
    assert _seconds(run) + 1200 <= 2 * cost.main_seconds(790)
    assert [plan.size for plan in run if plan.repeat == 0] == [125, 250, 500, 1000]
    assert len(wanted) == 12
    assert 4 < len(run) < 12
    assert run == [plan for plan in wanted if plan in run]
    # What is left is not enough for another one.
    left = [_seconds([plan]) for plan in wanted if plan not in run]
    assert _seconds(run) + min(left) > 2 * cost.main_seconds(790) - 1200


def test_small_sizes_are_judged_on_as_many_samples_as_large_ones():
    """Of an open network that takes longer than training it on a few."""
    cost = chosen.Cost(0, 0.1, trial_seconds=6 * 80 + 20, trial_epochs=6, more_epochs=0)
    assert cost.training_seconds(6, 600, 600) == pytest.approx(6 * 80 + 20)
    assert cost.training_seconds(30, 75, 600) == pytest.approx(30 * (7.5 + 20) + 20)
    brief = chosen.Cost(0, 0.1, trial_seconds=30, trial_epochs=6, more_epochs=0)  # of a search on fewer samples
    assert brief.training_seconds(6, 100, 600) == pytest.approx(60)


def test_a_curve_of_heads_that_take_seconds_is_not_cut_and_no_curve_is_without_a_repeat():
    wanted, run = _curve(5, chosen.Cost(60, 2e-5, 0.1, 5, 0))
    assert run == wanted
    _, run = _curve(12, chosen.Cost(1, 0.1, 720, 12, 0, spent_seconds=1))
    assert [(plan.size, plan.repeat) for plan in run] == [(125, 0), (250, 0), (500, 0), (1000, 0), (125, 1)]


def test_what_a_main_job_takes_is_read_from_trials():
    def trial(seconds: float, best: int, ended: str = "epochs") -> SimpleNamespace:
        result = {"seconds": seconds, "cache_seconds": 20.0, "sample_seconds": 0.05, "ended": ended}
        return SimpleNamespace(user_attrs={"result": result | {"best": {"number": best}, "epochs": 11}})

    trials = [trial(120, 10), trial(70, 0), SimpleNamespace(user_attrs={"error": "diverged"})]
    assert chosen.cost(trials, trials[0]) == chosen.Cost(150, 0.05, 100, 11, 5)  # of the main job: what it took
    assert chosen.cost(trials, trials[1]) == chosen.Cost(150, 0.05, 50, 11, 0)  # a solved head is solved again
    # Of a short search of two: six times as many, of which the curve has spent one sixth.
    assert chosen.cost(trials, trials[0], main=12) == chosen.Cost(900, 0.05, 100, 11, 5, spent_seconds=150)
    assert chosen.cost(trials, trial(1, 10, "timeout")).more_epochs == 15


def test_with_a_timeout_or_without_a_search_all_trainings_are_planned(caplog):
    config = CurveConfig(freeze="none")
    split = SimpleNamespace(train=np.arange(600), final=np.arange(790))
    work = SimpleNamespace(split=split, recordings=np.arange(1000), config=config.job())
    trained = TrialConfig("none", "source", 1e-3, 12, batch_size=16)
    found = chosen.Chosen(trained, "a test", chosen.Cost(600, 0.1, 785, 12, 6, spent_seconds=500))
    sizes = (125, 250, 500, 1000)
    with caplog.at_level("INFO"):
        assert len(curve._planned(config, work, found, sizes)) < 12
    assert "repeats=3 asks for 12" in caplog.text
    assert "more than 2 main jobs" in caplog.text
    assert len(curve._planned(replace(config, timeout=60), work, found, sizes)) == 12
    assert len(curve._planned(config, work, replace(found, cost=None), sizes)) == 12


def _study(folder: Path, **attributes) -> None:
    folder.mkdir()
    study = optuna.create_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")
    for value, freeze in ((3.0, "layer3"), (2.0, "none")):
        trial = study.ask()
        if attributes.get("done", True):
            trial.set_user_attr("config", {"freeze": freeze, "bn": "target", "lr": 1e-3, "epochs": 7})
            result = {"value": value, "best": {"number": 0}, "epochs": 7, "ended": "epochs", "sample_seconds": 0.1}
            trial.set_user_attr("result", result | {"seconds": 9.0, "cache_seconds": 2.0})
    if "begun_for" in attributes:
        study.set_user_attr("identity", {"for": attributes["begun_for"]})


def test_the_best_configuration_of_a_search_is_taken_and_a_curves_own_is_searched_on(tmp_path):
    _study(tmp_path / "main")
    found = chosen.from_study(tmp_path / "main")
    assert (found.config.freeze, found.config.epochs, found.source) == ("none", 7, "trial-001 of study main")
    assert found.cost == chosen.Cost(14.0, 0.1, 7.0, 7, 0.0)
    _study(tmp_path / "own", begun_for="curve")
    assert chosen.from_study(tmp_path / "own") is None
    assert chosen.from_study(tmp_path / "nowhere") is None
    _study(tmp_path / "young", done=False)
    with pytest.raises(GazeError, match="no finished trial yet"):
        chosen.from_study(tmp_path / "young")


def test_a_versions_configuration_is_in_its_contract_and_a_base_has_none(make_version, monkeypatch):
    address = f"models:/gaze-tracker/{make_version()}"
    assert chosen.from_version(address).config == TrialConfig("none", "target", 1e-3, 9)
    bare = SimpleNamespace(contract=SimpleNamespace(training={"source": "lab base"}))
    monkeypatch.setattr(chosen.opening, "fetch", lambda *_: bare)
    with pytest.raises(GazeError, match="does not say with which configuration"):
        chosen.from_version(address)


def test_a_damaged_file_of_a_training_is_trained_again(tmp_path, caplog):
    work = SimpleNamespace(split=SimpleNamespace(test=np.arange(3)), samples=SimpleNamespace(changes={"often": 0.5}))
    trainings = object.__new__(points.Trainings)
    trainings.job, trainings.folder = work, tmp_path
    plan = points.Plan(30, 0, np.arange(9), TrialConfig("none", "source", 1e-3, 1))
    point = points.Point(plan, np.arange(6.0).reshape(3, 2), 1.5, 4, "complete")
    trainings._keep(point)
    assert np.array_equal(trainings.known(plan).answers_deg, point.answers_deg)
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps({"answers_deg": [1, 2]}))
    assert trainings.known(plan) is None
    assert "trained again" in caplog.text


def test_a_training_on_pictures_that_are_changed_otherwise_is_another_one(tmp_path):
    config = TrialConfig("backbone", "target", 1e-3, 5)
    plan = points.Plan(size=30, repeat=0, train=np.arange(17), config=config)
    starts = SimpleNamespace(variants={"target": SimpleNamespace(path=tmp_path)}, answers_deg=None)
    little, far = (
        points.Trainings(SimpleNamespace(samples=Dataset(None, {}, None, None, one)), starts, config, tmp_path, "k")
        for one in (Augmentation(often=0.0), Augmentation())
    )
    assert little._file(plan) != far._file(plan)


@pytest.mark.parametrize("kept", [(1.0, 1.0), (0.5, 1.0)])
def test_a_training_is_tested_with_the_completed_head_and_drawn_to_its_mean(kept, tmp_path, monkeypatch):
    """As a version would be registered."""
    network = model.build()
    _, tail = model.cut(network, "layer3")
    trained = {key: value.clone() for key, value in tail.state_dict().items()}
    last = max(key for key in trained if key.endswith(".bias"))
    completed = trained | {last: trained[last] + 1}
    outcome = finetune.Outcome(finetune.Epoch(1, 0, 0, 1, 1, 1, 1, kept), trained, completed, [], "complete", 0.1)
    monkeypatch.setattr(points, "finetune", lambda *_, **__: outcome)
    for name, given in {"_start": lambda self, plan: network, "_source": None}.items():
        monkeypatch.setattr(points.Trainings, name, given)
    config = TrialConfig("layer3", "source", 1e-3, 1)
    split = SimpleNamespace(block=np.arange(3), validation=np.arange(3))
    job = SimpleNamespace(
        split=split, recordings=SimpleNamespace(targets=np.full((3, 2), 0.2)), device=torch.device("cpu")
    )
    starts = SimpleNamespace(variants={"source": SimpleNamespace(path=tmp_path)}, answers_deg=None)
    plan = points.Plan(30, 0, np.arange(3), config)
    _, tested = points.Trainings(job, starts, config, tmp_path, "k")._train(plan)
    expected = completed[last] * torch.tensor(kept) + (1 - torch.tensor(kept)) * 0.2
    torch.testing.assert_close(tested.fc[-1].bias.data, expected, rtol=0, atol=1e-7)
