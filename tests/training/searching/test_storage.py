"""A study in PostgreSQL: several processes on one study, whoever is gone, and a database that stops."""

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import databases
import mlflow
import optuna
import pytest
import trials
from optuna.trial import TrialState
from trials import Scripted, described

from recording.exceptions import InputError
from training import chosen
from training.searching import search, storage
from training.searching.search import Search
from training.searching.space import SearchSpace
from training.searching.storage import StudyDatabase
from training.searching.study import Study

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SAMPLES = 1000


@pytest.fixture(scope="module")
def cluster() -> Iterator[databases.Postgres]:
    """Of this module's own: it is stopped in the middle of a test."""
    made = databases.Postgres()
    yield made
    made.remove()


@pytest.fixture
def url(cluster: databases.Postgres, request: pytest.FixtureRequest) -> str:
    return cluster.create(f"study{abs(hash(request.node.name))}")


def opened(folder: Path, url: str, run_id: str = "a", number: int = 12) -> Study:
    return Study(folder, "one", SearchSpace(trials=number), {"data": "a"}, SAMPLES, StudyDatabase(url, "one", run_id))


def join_in(folder: Path, url: str, run_id: str) -> None:
    study = opened(folder, url, run_id)
    Search(study, Scripted(size=2), described).run()
    study.close()


def test_processes_that_start_at_once_share_one_study_and_run_each_trial_once(tmp_path, url):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=join_in, args=(tmp_path / name, url, name)) for name in ("a", "b")]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    study = opened(tmp_path / "c", url, "c")
    finished = study.finished()
    assert len(finished) == len(study.study.trials) == 12
    assert {trial.state for trial in finished} == {TrialState.COMPLETE}
    assert len({str(trial.params) for trial in finished}) == 12
    study.close()


def test_a_trial_whose_process_is_gone_is_tried_again_by_another_one(tmp_path, url, monkeypatch):
    monkeypatch.setattr(storage, "GRACE_S", 1)
    gone = opened(tmp_path / "gone", url, "gone", number=3)
    asked, _, _ = gone.propose()
    gone.close()  # without a word to the study, as after a kill

    monkeypatch.setattr(search, "LISTEN_S", 0.2)
    other = opened(tmp_path / "other", url, "other", number=3)
    Search(other, Scripted(), described).run()
    finished = other.finished()
    assert other.running() == set()
    assert len(finished) == 3
    assert asked.params in [trial.params for trial in finished]
    assert asked.number not in [trial.number for trial in finished]
    assert not other.storage.is_alive("gone")
    other.close()


def test_a_database_that_stops_is_waited_for(tmp_path, url, cluster, caplog):
    """It stops while a trial runs; the search goes on where it was when it is back."""
    study = opened(tmp_path, url, number=3)
    back = threading.Timer(3.0, cluster.start)

    def script(spec):
        if spec.number == 1:
            cluster.stop()
            back.start()
        return [("epoch", trials.epoch(3.0)), *trials.done(spec)]

    found = Search(study, Scripted(script), described).run()
    back.join()
    assert [trial.state for trial in found.trials] == [TrialState.COMPLETE] * 3
    assert "does not answer" in caplog.text
    study.storage.beat([], now=True)
    assert StudyDatabase(url, "one", "b").is_alive("a"), "the sign of life was lost with the connection"
    study.close()


def test_a_trial_that_was_given_to_others_meanwhile_is_not_told_twice(tmp_path, url):
    study = opened(tmp_path, url, number=2)

    def script(spec):
        if spec.number == 0:
            study.study.tell(0, state=TrialState.FAIL)  # by whoever missed our sign of life
        return [("epoch", trials.epoch(3.0)), *trials.done(spec)]

    workers = Scripted(script)
    Search(study, workers, described).run()
    assert workers.answers[0] == (0, False)
    assert 0 not in [trial.number for trial in study.finished()]
    assert len(study.finished()) == 2
    study.close()


def test_one_of_those_that_work_on_a_study_concludes_it(tmp_path, url):
    first, second = opened(tmp_path / "a", url, "a"), opened(tmp_path / "b", url, "b")
    assert first.is_to_be_concluded()
    assert not second.is_to_be_concluded(), "two would register"
    first.conclude("a")
    first.close()
    assert not second.is_to_be_concluded(), "it is done"
    second.close()
    again = opened(tmp_path / "b", url, "b")
    assert again.is_to_be_concluded(), "who starts the command again gets a result"
    again.close()


def test_who_dies_before_it_concludes_leaves_it_to_the_others(tmp_path, url):
    first, second = opened(tmp_path / "a", url, "a"), opened(tmp_path / "b", url, "b")
    assert first.is_to_be_concluded()
    first.close()
    assert second.is_to_be_concluded()
    second.close()


def test_the_best_weights_reach_a_machine_that_did_not_train_them(tmp_path, url, tracking):
    def script(spec):
        spec.checkpoint.write_bytes(b"weights of trial %d" % spec.number)
        run = mlflow.MlflowClient().create_run("0")
        return [("run", run.info.run_id), ("done", trials.result(3.0 - spec.number))]

    here = opened(tmp_path / "here", url, "here", number=2)
    Search(here, Scripted(script), described).run()
    here.close()
    there = opened(tmp_path / "there", url, "there", number=2)
    found = Search(there, Scripted(), described).run()
    assert found.best.number == 1
    assert found.checkpoint.parent == tmp_path / "there"
    assert found.checkpoint.read_bytes() == b"weights of trial 1"
    there.close()


def test_parent_runs_of_those_who_work_on_it_are_left_alone(tmp_path, url, tracking, monkeypatch):
    client = mlflow.MlflowClient()
    runs = {name: client.create_run("0", tags={"study": "one"}).info.run_id for name in ("ours", "other", "dead")}
    study, other = opened(tmp_path / "a", url, runs["ours"]), opened(tmp_path / "b", url, runs["other"])
    study.end_orphans(runs["ours"])
    assert {client.get_run(run_id).info.status for run_id in runs.values()} == {"RUNNING"}  # too young to tell
    monkeypatch.setattr("training.searching.study.YOUNG_S", -10)
    study.end_orphans(runs["ours"])
    states = {name: client.get_run(run_id).info.status for name, run_id in runs.items()}
    assert states == {"ours": "RUNNING", "other": "RUNNING", "dead": "KILLED"}
    study.close()
    other.close()


def test_what_is_let_go_is_free_at_once_and_a_look_at_a_lock_does_not_take_it(url, monkeypatch):
    watching = StudyDatabase(url, "one", "watching")
    for number in range(25):  # keys of either sign and size; the server takes its time to see that a client is gone
        run_id = f"run {number}"
        assert not watching.is_alive(run_id)
        working = StudyDatabase(url, f"study {number}", run_id)
        assert working.leads() and watching.is_alive(run_id)
        if number == 24:  # the server has not heard yet that it is gone
            monkeypatch.setattr(working._connection, "close", lambda: None)
        working.close()
        assert not watching.is_alive(run_id)
        following = StudyDatabase(url, f"study {number}", run_id)
        assert following.leads() and watching.is_alive(run_id)
        following.close()
    watching.close()


@pytest.mark.parametrize(
    ("url_given", "says"),
    [
        ("sqlite:///x.db", "several processes need PostgreSQL"),
        ("nonsense", "is no address"),
        ("postgresql+psycopg2://gaze:secret@127.0.0.1/x", "leave the password out"),
        ("postgresql+psycopg2://gaze@127.0.0.1/x?password=secret", "leave the password out"),
        ("postgresql+psycopg2://gaze@127.0.0.1/x?PASSWORD=secret", "leave the password out"),
        ("postgresql+psycopg2://gaze@127.0.0.1/x?sslmode=require&sslpassword=secret", "leave the password out"),
        ("postgresql+psycopg2://127.0.0.1/x?dsn=host%3Db%20password%3Dsecret", "leave the password out"),
        ("postgresql+psycopg2://ann@corp:se@secret@127.0.0.1/x", "leave the password out"),
        ("postgresql+psycopg2://ann lee:secret@127.0.0.1/x", "leave the password out"),
        ("mysql+pymysql://ann@corp:a/secret@127.0.0.1/x", "several processes need PostgreSQL"),
        ("postgresql+psycopg2://gaze@127.0.0.1:9/x", r"cannot be reached \(.*refused"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_its_password(url_given, says):
    with pytest.raises(InputError, match=says) as error:
        StudyDatabase(url_given, "one", "a")
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_curve_reads_the_search_of_several_machines_and_leaves_it_as_it_is(tmp_path, url):
    folder = tmp_path / "studies" / "june"
    with pytest.raises(InputError, match=r"study 'june': cannot be read in postgresql.*choose another study"):
        chosen.from_study(folder, url)  # nothing was made in the empty database
    study = optuna.create_study(study_name="june", storage=url)
    trial = study.ask()
    trial.set_user_attr("config", {"freeze": "layer3", "bn": "target", "lr": 1e-3, "epochs": 7})
    result = {"value": 2.0, "best": {"number": 4}, "ended": "epochs", "epochs": 7, "sample_seconds": 0.1}
    trial.set_user_attr("result", result | {"seconds": 9.0, "cache_seconds": 2.0})
    found = chosen.from_study(folder, url)
    assert (found.config.freeze, found.config.epochs, found.source) == ("layer3", 7, "trial-000 of study june")
    assert found.cost == chosen.Cost(7.0, 0.1, 7.0, 7, 2)
    assert [one.state for one in study.get_trials()] == [TrialState.RUNNING]
    assert not folder.exists()
    with pytest.raises(InputError, match=r"study 'july': .*it is not there"):
        chosen.from_study(folder.with_name("july"), url)
