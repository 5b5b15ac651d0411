"""Trials on a real Ray cluster: where they run and with what, and that nobody who is gone takes others along."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import clusters
import cv2
import databases
import drives as drawing
import mlflow
import numpy as np
import pytest
import registries
import safetensors.torch
import torch
import trials
from optuna.trial import TrialState

from recording import fleet, prepared
from recording.exceptions import GazeError, InputError
from recording.face import Choice
from recording.fleet import Task
from recording.recordings import Recordings
from registry.interruption import SIGNALS
from tests import recordings as small
from training import unseen
from training.checkpoints import Base
from training.config import JobConfig
from training.context import Job
from training.interruption import handler
from training.learning import model
from training.learning.cache import ActivationCache
from training.learning.finetune import TrialConfig
from training.measuring.splits import Split
from training.sample.sample_drive import BASE_CHECKPOINT
from training.searching import trial
from training.searching.search import Search
from training.searching.space import SearchSpace
from training.searching.storage import StudyDatabase
from training.searching.study import Study
from training.searching.trial import TrialSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ray_nodes() -> Iterator[clusters.Nodes]:
    with clusters.nodes() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(ray_nodes: clusters.Nodes, tmp_path_factory: pytest.TempPathFactory):
    from training.searching.cluster import connected

    before = [signal.getsignal(number) for number in SIGNALS]
    with connected(ray_nodes.address, tmp_path_factory.mktemp("work")) as found:
        assert [signal.getsignal(number) for number in SIGNALS] == before, "Ray would end the command in its own way"
        yield found


@pytest.fixture(scope="module")
def slots(cluster):
    """One on each node; what their trials do, each test says."""
    from training.searching.slots import Slots

    made = Slots(cluster, 2, 8, "cpu")
    yield made
    made.close()


def spec(number: int, work: Path) -> TrialSpec:
    given = dict.fromkeys(TrialSpec.__dataclass_fields__)
    about = {"number": number, "config": TrialConfig("backbone", "source", 1e-3, 1)}
    about |= {"seconds_left": 600.0, "seconds_at_most": 600.0}
    paths = {"base": work / "base.safetensors", "samples": (work / "drive",), "checkpoint": work / f"{number}.weights"}
    return TrialSpec(**given | about | paths | {"state": work / f"{number}.state", "accelerator": ""})


def last_words(slots, wanted: int, within_s: float = 400.0) -> dict[int, tuple[str, object]]:
    said, deadline = {}, time.monotonic() + within_s
    while len(said) < wanted and time.monotonic() < deadline:
        for number, kind, what in slots.hear(1):
            if kind == "epoch":
                slots.answer(number, True)
            elif kind != "run":
                said[number] = kind, what
    return said


@pytest.fixture
def drives(tmp_path: Path) -> list[Task]:
    """Three drives of twelve frames: the second has labels that no drive can be made of."""
    return [Task(one, tmp_path / "work", samples=5) for one in small.listed(tmp_path)]


def test_drives_are_prepared_as_tasks_none_twice_and_a_bad_one_is_named(cluster, drives):
    """The first test here: afterwards the slots have all processors. Cut off once, when the first drive is there."""
    begun = cluster.prepare(drives)
    number, first = next(begun)
    begun.close()  # Ray kills the others
    before = first.samples and first.samples.folder.stat().st_mtime_ns
    found = fleet.prepare(drives, fleet.SKIP, 1, cluster.prepare)
    assert first.samples is None or found[number].samples.folder.stat().st_mtime_ns == before
    assert [outcome.samples is None for outcome in found] == [False, True, False]
    assert "no overlap" in found[1].error
    written = {one.samples.folder: one.samples.folder.stat().st_mtime_ns for one in found[::2]}
    assert len(written) == 2
    again = fleet.prepare(drives, fleet.SKIP, 1, cluster.prepare)
    assert {one.samples.folder: one.samples.folder.stat().st_mtime_ns for one in again[::2]} == written
    with pytest.raises(InputError, match=r"drive 'b-v' \(line 3 of the list\): no overlap"):
        fleet.prepare(drives, fleet.STOP, 1, cluster.prepare)


def test_who_waits_for_drives_or_trials_hears_that_ray_is_gone(cluster, slots, drives, monkeypatch):
    def check() -> None:
        raise GazeError("Ray's head node is gone")

    monkeypatch.setattr(cluster, "check", check)
    with pytest.raises(GazeError, match="head node is gone"):
        next(cluster.prepare(drives))
    with pytest.raises(GazeError, match="head node is gone"):
        slots.hear(0.1)


@pytest.fixture
def ours(cluster) -> Path:
    """Base and samples in the folder that the search sees."""
    (cluster.work / "base.safetensors").write_bytes(b"base")
    folder = cluster.work / "drive"
    folder.mkdir(exist_ok=True)
    for name in ("frame_00001_driver.jpg", "frame_00001_gt.json", "frame_00001_road.jpg"):
        (folder / name).write_bytes(name.encode())
    return cluster.work


def test_each_trial_has_a_node_and_its_share_of_it(slots, ours):
    slots.body = trials.say_where
    for number in range(2):
        slots.start(spec(number, ours))
    said = [what for _, what in last_words(slots, 2).values()]
    assert len({where["place"] for where in said}) == 2, "a node has no cache of its own"
    assert [where["threads"] for where in said] == [2, 2]
    assert not any(where["ray"] for where in said), "trials import Ray"
    assert said[0]["there"][-1] == b"frame_00001_road.jpg", "a folder that all see was copied"


def test_without_a_shared_folder_a_node_gets_what_it_reads_once_and_gives_back_the_weights(slots, ours, monkeypatch):
    monkeypatch.setattr(slots.cluster, "shared", False)
    slots.body = trials.say_where
    for number in range(2, 6):
        slots.start(spec(number, ours))
    said = [what for _, what in last_words(slots, 4).values()]
    assert all(where["there"] == [b"base", b"frame_00001_driver.jpg", b"frame_00001_gt.json"] for where in said)
    for place in {where["place"] for where in said}:
        copies = sorted((place / "parts").iterdir())
        assert len(copies) == 2, "not once, or left half"
        assert not list(place.glob("*.weights")), "weights stay on the node"
    assert [(ours / f"{number}.weights").read_bytes() for number in range(2, 6)] == [b"weights"] * 4


def test_a_trial_that_dies_takes_nobody_along(slots, ours):
    slots.body = trials.first_one_dies
    for number in range(2):
        slots.start(spec(number, ours))
    said = last_words(slots, 2)
    assert said[0][0] == "lost"
    assert "signal SIGKILL" in said[0][1]
    assert said[1] == ("done", True)


def searching(study: Study, slots, ours: Path, notes: Path) -> Search:
    def describe(number: int, config: TrialConfig, checkpoint: Path, seconds_left: float) -> TrialSpec:
        return replace(spec(number, ours), config=config, checkpoint=checkpoint, tracking_uri=str(notes))

    return Search(study, slots, describe)


@pytest.fixture
def database() -> Iterator[databases.Postgres]:
    made = databases.Postgres()
    yield made
    made.remove()


@pytest.fixture
def real(ours, tmp_path, database, monkeypatch) -> Iterator[Callable[..., TrialSpec]]:
    """Describes trials that train on twelve drawn faces and report to a server on PostgreSQL."""
    folder = ours / "faces"
    folder.mkdir()
    for number, gaze in enumerate(drawing.gaze_track(12, 2.0)):
        cv2.imwrite(str(folder / f"frame_{number:05d}_driver.jpg"), drawing.face(gaze))
        truth = {"azimuth_deg": float(gaze[0]), "elevation_deg": float(gaze[1])}
        (folder / f"frame_{number:05d}_gt.json").write_text(json.dumps(truth))
    torch.manual_seed(0)
    safetensors.torch.save_file(model.build().state_dict(), ours / "real.safetensors")
    with registries.served(tmp_path, database.create("mlflow"), monkeypatch) as uri, mlflow.start_run() as parent:

        def describe(number: int, config: TrialConfig, checkpoint: Path, seconds_left: float) -> TrialSpec:
            return TrialSpec(
                number=number,
                config=config,
                base=ours / "real.safetensors",
                together=(),
                samples=(folder,),
                faces=(None,),
                train=np.arange(8),
                validation=np.arange(8, 12),
                block=np.arange(12) // 2,
                cache=tmp_path / "cache",
                checkpoint=checkpoint,
                device="cpu",
                tracking_uri=uri,
                experiment_id=parent.info.experiment_id,
                parent_run_id=parent.info.run_id,
                study="one",
            )

        yield describe


def test_models_that_leave_drivers_out_are_trained_in_slots_as_they_are_here(slots, tmp_path, monkeypatch):
    """Without a folder that all see: samples and base go there, answers come back."""
    each = [prepared.load(drawing.prepared_folder(tmp_path / name, n=6, seed=k)) for k, name in enumerate("abcd")]
    data, all_ = Recordings(tuple(replace(one, chosen=Choice(None), driver=one.name) for one in each)), np.arange(24)
    config = JobConfig(work=str(tmp_path), device="cpu", folds=2, drives="drives.csv")
    split = Split("by-driver", *np.split(all_, 3), all_, all_, all_, leaking=False)
    result = {"best": {"number": 2}, "batch_size": 8, "sample_seconds": 0.1}
    chosen = TrialConfig("backbone", "source", 1e-3, 5, head="ridge")
    best = SimpleNamespace(user_attrs={"result": result | {"cache_seconds": 1.0}})
    found = SimpleNamespace(best=best, trials=[best], config=lambda: chosen, kept=lambda: (1.0, 1.0))
    lent = SimpleNamespace(size=2, start=slots.start, hear=slots.hear, close=lambda: None)
    monkeypatch.setattr(slots.cluster, "shared", False)
    slots.body = unseen.answer
    with closing(ActivationCache(tmp_path / "cache")) as cache:
        base = Base(model.load(BASE_CHECKPOINT), "", "")
        job = Job(config, "far", "", base, data, split, None, cache, ())  # type: ignore[arg-type]
        base_deg = unseen.base_answers(job)
        here = unseen.estimate(replace(job, study="here"), found, 1.0, base_deg)
        monkeypatch.setattr(unseen, "_answers", None)  # of this process
        far = unseen.estimate(job, found, 1.0, base_deg, SimpleNamespace(workers=lambda *_: lent))
    there, expected = (np.array([one.model_deg for one in found.drivers]) for found in (far, here))
    assert there == pytest.approx(expected, abs=0.1)  # other threads round bfloat16 otherwise
    assert len(list((tmp_path / "studies/far/unseen").iterdir())) == 2


@pytest.mark.postgres
def test_real_trials_all_end_while_one_is_killed_and_the_database_of_all_stops(
    slots, tmp_path, real, database, monkeypatch, caplog
):
    """The third trial is killed when it has begun; the database of study and tracking server stops while trials run."""
    slots.body = trials.train_but_die
    space = SearchSpace(trials=8, freeze=("backbone",), bn=("source",), epochs_min=1, epochs_max=2, batch_size=4)
    parent = mlflow.active_run().info

    def start_again() -> None:
        while "the study's database does not answer" not in caplog.text:
            time.sleep(0.1)
        database.start()

    back = threading.Thread(target=start_again, daemon=True)

    def describe(number: int, config: TrialConfig, checkpoint: Path, seconds_left: float) -> TrialSpec:
        if number == 5:
            database.stop()
            back.start()
        return real(number, config, checkpoint, seconds_left)

    kept = StudyDatabase(database.create("study"), "one", parent.run_id)
    with closing(Study(tmp_path / "study", "one", space, {}, 8, kept)) as study:
        found = Search(study, slots, describe).run()
        assert study.running() == set()
    back.join()
    assert len(found.ran()) == 8
    children = mlflow.MlflowClient().search_runs(
        [parent.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'"
    )
    ended = {child.data.tags["trial"]: child.info.status for child in children}
    assert ended == {str(number): "FAILED" if number == 2 else "FINISHED" for number in range(8)}
    (killed,) = (child for child in children if child.info.status == "FAILED")
    assert "signal SIGKILL" in killed.data.tags["ended"]
    assert found.checkpoint.exists()
    alone, *_ = trial.train(real(0, found.config(), tmp_path / "alone.safetensors", 600.0))
    assert alone.best.angular_error_deg == pytest.approx(found.best.user_attrs["result"]["value"], rel=1e-3)


def test_a_node_that_is_killed_costs_each_of_its_trials_one_epoch_at_most(
    ray_nodes, slots, ours, tmp_path, monkeypatch, caplog
):
    import ray

    monkeypatch.setattr(slots.cluster, "shared", False)
    slots.body, notes = trials.count, tmp_path / "notes"

    here = ray.get_runtime_context().get_node_id()  # without that one no search is left

    def kill_in_the_third_epoch() -> None:
        third = None
        while not third:
            time.sleep(0.1)
            third = re.search(rf"^\S+ 3 (?!{here})(\S+) (\d+)$", notes.read_text() if notes.exists() else "", re.M)
        ray_nodes.kill(third[1])
        killed.extend(third.groups())

    killed: list[str] = []
    threading.Thread(target=kill_in_the_third_epoch, daemon=True).start()
    with closing(Study(tmp_path / "study", "one", SearchSpace(trials=4), {}, 1000)) as study:
        found = searching(study, slots, ours, notes).run()
        assert [one.user_attrs["result"]["ended"] for one in study.finished()] == ["complete"] * 4
    counted = Counter(tuple(line.split()[:2]) for line in notes.read_text().splitlines())
    assert len(counted) == 4 * trials.EPOCHS
    again = [which for which, times in counted.items() if times > 1]
    assert len(again) <= 1, "more than the epoch that ran was counted again"
    assert clusters.gone(int(killed[1])), "the trial's process outlives its node"
    assert sum(one.state == TrialState.FAIL for one in found.trials) == 1
    assert "it is tried again and goes on where it was" in caplog.text


@pytest.fixture
def told_to_end() -> Iterator[Callable[[], None]]:
    """Sends this process the SIGTERM of a scheduler, which it takes as the command does."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    interruption = handler()
    interruption.install()
    interruption.allow()
    yield lambda: os.kill(os.getpid(), signal.SIGTERM)
    for number, before in handlers.items():
        signal.signal(number, before)


def test_a_search_that_is_told_to_end_leaves_no_trial_and_goes_on(slots, ours, tmp_path, told_to_end):
    slots.body = trials.stay

    def interrupt() -> None:
        while not list(tmp_path.glob("[0-9]")):
            time.sleep(0.1)
        told_to_end()

    threading.Thread(target=interrupt, daemon=True).start()
    with closing(Study(tmp_path / "study", "one", SearchSpace(trials=4), {}, 1000)) as study:
        with pytest.raises(KeyboardInterrupt):
            searching(study, slots, ours, tmp_path).run()
        assert all(clusters.gone(int(pid.read_text())) for pid in tmp_path.glob("[0-9]"))
        assert study.running() == set()
        assert len(study.study.get_trials(states=(TrialState.WAITING,))) > len(study.space.opening(1000)) - 2


FOUR: tuple[SearchSpace, dict[str, str], int] = SearchSpace(trials=4), {}, 1000
DRIVER = """
import sys
from pathlib import Path
import trials
sys.path.insert(0, sys.argv[3])
import test_slots
from training.searching.envoy import connected
if __name__ == "__main__":
    work = Path(sys.argv[2])
    with connected(sys.argv[1], work) as cluster:
        slots = cluster.workers(1, 1, "cpu", trials.count)
        test_slots.searching(test_slots.two(work), slots, work, work / "notes").run()
"""


def two(work: Path) -> Study:
    return Study(work / "study", "one", SearchSpace(trials=2), {}, 1000)


def test_a_killed_search_leaves_no_trial_and_goes_on_where_it_was(ray_nodes, cluster, slots, ours):
    """The slots are gone afterwards."""
    slots.close()
    here, notes = Path(__file__), ours / "notes"
    environment = os.environ | {"PYTHONPATH": f"{clusters.ROOT}:{clusters.ROOT / 'tests'}"}
    command = [sys.executable, "-c", DRIVER, ray_nodes.address, str(ours), str(here.parent)]
    driver = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 240
        while len(said := notes.read_text().splitlines() if notes.exists() else []) < 2:
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        driver.kill()
        driver.wait()
    assert clusters.gone(int(said[0].split()[-1]))

    again = type(slots)(cluster, 1, 1, "cpu", trials.count)
    with closing(two(ours)) as study, closing(again):
        assert study.running() == set()
        searching(study, again, ours, notes).run()
        assert [one.user_attrs["result"]["ended"] for one in study.finished()] == ["complete"] * 2
    counted = Counter(tuple(line.split()[:2]) for line in notes.read_text().splitlines())
    assert len(counted) == 2 * trials.EPOCHS
    assert sum(counted.values()) <= len(counted) + 1, "more than the epoch that ran was counted again"


def test_all_of_ray_killed_at_once_ends_the_search_in_one_line_and_it_goes_on(ray_nodes, slots, ours, tmp_path, capfd):
    """The last test here: the nodes are gone. What talks to Ray is a process of its own, for Ray would end this one."""
    import ray

    from training.searching import envoy

    slots.close()
    ray.shutdown()

    def strike() -> None:
        while len(list(tmp_path.glob("[0-9]"))) < 2:
            time.sleep(0.1)
        ray_nodes.kill_all()

    with envoy.connected(ray_nodes.address, ours) as cluster, closing(Study(tmp_path / "s", "one", *FOUR)) as study:
        assert cluster.shared
        with closing(cluster.workers(2, 4, "cpu", trials.stay)) as far:
            assert far.size == 2
            threading.Thread(target=strike, daemon=True).start()
            with pytest.raises(GazeError, match=r"gone.*; start it again, and go on with study=NAME") as told:
                searching(study, far, ours, tmp_path).run()
        assert "\n" not in str(told.value)
        assert study.running() == set()
        assert all(clusters.gone(int(pid.read_text())) for pid in tmp_path.glob("[0-9]"))
        assert "raylet" not in capfd.readouterr().err, "Ray shows its log"
        with pytest.raises(
            GazeError, match=r"Ray (does not answer for 0 s|has ended what talked to it); start it again"
        ):
            cluster.ask(time.sleep, 600, within_s=0.1)
        with pytest.raises(GazeError, match=r"Ray has ended what talked to it; start it again"):
            cluster.ask(os.getpid)
        assert len(searching(study, trials.Scripted(), ours, tmp_path).run().ran()) == 4


# Rare on a real cluster: the head has noticed that a node is gone, and the slot had not begun there yet.
def test_a_node_that_is_gone_before_its_slot_has_begun_is_a_node_that_is_gone(monkeypatch):
    from training.searching import slots  # Ray

    def get(answer):
        raise slots.ActorUnschedulableError("The node doesn't exist any more")

    monkeypatch.setattr(slots.ray, "get", get)
    there = [SimpleNamespace(id="another")]
    looking = SimpleNamespace(address="auto", check=lambda **_: None, nodes=lambda: there)
    slot = slots._Slot(None, "node", "settling")
    ours = object.__new__(slots.Slots)
    ours.cluster, ours._slots, ours._looked = looking, [slot], 1.0
    assert ours._heard(slot) == []
    assert ours._slots == [] and ours._looked == 0.0  # another one takes its place at the next look
    there.append(SimpleNamespace(id="node"))
    ours._slots.append(slot)
    with pytest.raises(GazeError, match=r"a slot for trials cannot be started \(.*doesn't exist any more"):
        ours._heard(slot)
