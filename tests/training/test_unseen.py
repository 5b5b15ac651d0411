"""Leaving drivers out: who cannot be, and what one model leaves behind for the next."""

from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import drives
import numpy as np
import pytest
import trials

from recording import prepared
from recording.exceptions import GazeError
from recording.face import Choice
from recording.fingerprint import Fingerprint
from recording.recordings import Recordings
from training import unseen
from training.checkpoints import Base
from training.config import JobConfig
from training.context import Job
from training.learning import model
from training.learning.cache import ActivationCache
from training.learning.finetune import TrialConfig
from training.measuring.splits import Split
from training.sample.sample_drive import BASE_CHECKPOINT

DRIVES = {"monday": "Anna", "tuesday": "Anna", "b": "Ben", "c": "Cem", "d": "Dea"}
EACH = 30
FOUND = SimpleNamespace(
    best=SimpleNamespace(user_attrs={"result": {"best": {"number": 2}, "batch_size": 8, "sample_seconds": 0.1}}),
    config=lambda: TrialConfig("backbone", "source", 1e-3, 5),
    kept=lambda: (1.0, 1.0),
    trials=[],
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """What is kept of a study lies below the present folder."""
    monkeypatch.chdir(tmp_path)


def job(*learnt: str, dea: int = EACH) -> SimpleNamespace:
    """Drives of :data:`EACH` samples, Dea's of so many; the base has learnt from those of the drives that are named."""
    counts = [EACH] * 4 + [dea]
    drive_index = np.repeat(np.arange(5), counts)
    each = [
        SimpleNamespace(name=name, driver=driver, drive=name, fps=30.0, seconds=np.arange(count) / 30)
        for (name, driver), count in zip(DRIVES.items(), counts, strict=True)
    ]
    labels = np.random.default_rng(0).uniform([-20, -15], [20, 15], (len(drive_index), 2))
    names = tuple(dict.fromkeys(DRIVES.values()))
    data = SimpleNamespace(
        drives=each,
        drivers=names,
        drives_of={who: tuple(drive for drive, by in DRIVES.items() if by == who) for who in names},
        drive_index=drive_index,
        driver_index=np.array([names.index(driver) for driver in DRIVES.values()])[drive_index],
        frames=np.concatenate([np.arange(count) for count in counts]),
        moments=[Fingerprint()] * 5,
        labels_deg=labels,
        digest=f"d{dea}",
        cut_in_words=str,
    )
    held = SimpleNamespace(saw=lambda footage: np.full(len(footage.frames), footage.recording in learnt))
    base = SimpleNamespace(holdout=held if learnt else None, digest="b")
    config = SimpleNamespace(folds=0, seed=0)
    return SimpleNamespace(
        recordings=data,
        base=base,
        config=config,
        study="one",
        split=SimpleNamespace(train=np.arange(40), validation=np.arange(10)),
        work=Path(),
        groups=data.driver_index,
        everything=SimpleNamespace(changes={"often": 0.5}),
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[int], set[int]]]:
    """The drivers (trained on, left out) of every model that is trained; all of them answer what is measured."""
    models: list[tuple[set[int], set[int]]] = []

    def answers(job, train, test, config, epochs, base_deg):
        driver = job.recordings.driver_index
        models.append((set(driver[train]), set(driver[test])))
        return job.recordings.labels_deg[test]

    monkeypatch.setattr(unseen, "_answers", answers)
    return models


def estimate(made: SimpleNamespace):
    return unseen.estimate(made, FOUND, 1.0, made.recordings.labels_deg + 3.0)


def test_a_driver_from_whom_the_base_has_learnt_is_no_unseen_one(trained, caplog):
    found = estimate(job("tuesday"))
    assert [one.name for one in found.drivers] == ["Ben", "Cem", "Dea"]
    assert trained == [({0, 2, 3}, {1}), ({0, 1, 3}, {2}), ({0, 1, 2}, {3})]
    assert found.errors["angular"].blocks == 3
    assert "not Anna: the base has learnt from them" in found.lines()[0]
    assert "Anna: is not measured as an unseen driver" in caplog.text
    assert estimate(job(*DRIVES)) is None


# A head in closed form has no epochs: what was to take "about 0 s" took a minute and a half.
@pytest.mark.parametrize(("bn", "passes"), [("target", 8), ("source", 1)])
def test_passes_through_the_frozen_trunk_are_in_what_it_will_take(bn, passes):
    made, config = job(), SimpleNamespace(bn=bn)
    results = [SimpleNamespace(user_attrs={"result": {"cache_seconds": seconds}}) for seconds in (0.1, 5.0)]
    found = SimpleNamespace(trials=[*results, SimpleNamespace(user_attrs={})], config=lambda: config)
    samples = len(made.recordings.labels_deg)
    assert unseen.passes_seconds(made, found, 4) == pytest.approx(0.1 * samples * passes)


def test_a_driver_with_a_handful_of_samples_does_not_end_the_job_behind_its_search(trained):
    found = estimate(job(dea=4))
    assert [one.name for one in found.drivers] == ["Anna", "Ben", "Cem"]
    assert all(3 in learnt for learnt, _ in trained)
    assert len(estimate(job(dea=5)).drivers) == 4


def test_answers_to_an_unseen_driver_are_drawn_to_the_mean_of_the_others_as_the_registered_ones_are(trained):
    made = job()
    kept = SimpleNamespace(best=FOUND.best, trials=[], config=FOUND.config, kept=lambda: (0.25, 1.0))  # pitch, yaw
    found = unseen.estimate(made, kept, 1.0, made.recordings.labels_deg + 3.0)
    labels, driver = made.recordings.labels_deg[:, 1], made.recordings.driver_index
    away = np.abs(np.array([label - labels[driver != who].mean() for label, who in zip(labels, driver, strict=True)]))
    assert found.errors["azimuth"].mean == pytest.approx(0, abs=1e-9)
    by_driver = [0.75 * away[driver == who].mean() for who in range(4)]  # a quarter of the way is kept
    assert [one.model_deg[1] for one in found.drivers] == pytest.approx(by_driver)


def test_a_job_that_was_cut_off_trains_no_model_again(trained, monkeypatch):
    answers, asked = unseen._answers, []

    def cut_off(*arguments):
        asked.append(arguments)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answers(*arguments) + 1 / 3

    monkeypatch.setattr(unseen, "_answers", cut_off)
    with pytest.raises(KeyboardInterrupt):
        estimate(job())
    resumed = estimate(job())
    assert [left_out for _, left_out in trained] == [{0}, {1}, {2}, {3}]
    assert len(asked) == 5

    # What they answered is what an uninterrupted job says, and another training is another one.
    monkeypatch.setattr(unseen, "_answers", lambda *arguments: answers(*arguments) + 1 / 3)
    again = job()
    again.study = "two"
    assert estimate(again).lines() == resumed.lines()
    assert len(trained) == 8
    unseen.estimate(job(), FOUND, 2.0, job().recordings.labels_deg + 3.0)
    assert len(trained) == 12
    other = job()
    other.base.digest = "another"
    estimate(other)
    assert len(trained) == 16
    brighter = job()
    brighter.everything.changes = {"often": 1.0}
    estimate(brighter)
    assert len(trained) == 20


def test_answers_that_were_kept_and_are_damaged_are_made_again(trained, caplog):
    estimate(job())
    first, *_ = sorted(Path("studies/one/unseen").glob("*.json"))
    first.write_text('{"answers_deg": [[1.0, 2.0]]}')
    estimate(job())
    assert len(trained) == 5
    assert f"{first}: cannot be read" in caplog.text


def test_what_one_model_read_may_be_removed_for_the_next(tmp_path, monkeypatch):
    """With statistics of each fold's own every model has activations of its own, and a job has many folds."""
    places = np.arange(20)
    split = Split("by-driver", *np.split(places, [10, 15]), places, places, places, leaking=False)
    cache = ActivationCache(tmp_path, limit_bytes=1500)
    made = Job(None, "one", "", None, None, split, None, cache, ())  # type: ignore[arg-type]
    vars(made)["everything"] = "all samples"

    def read(fold, *_):
        assert fold.samples == "all samples"
        fold.cache.array({"without": int(fold.split.test[0])}, (1000,), "uint8", lambda array: None, "activations")

    monkeypatch.setattr(unseen, "_trained", read)
    for first in (0, 5, 10):
        unseen._answers(made, places[places >= 5], places[first : first + 5], None, 1.0, None)  # type: ignore[arg-type]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.bin")) == 1000
    cache.close()


def test_nothing_of_a_driver_who_is_left_out_reaches_the_model(tmp_path):
    """Neither labels nor pictures: with another driver in that place the others are answered the same."""
    first, other, *rest = (drives.prepared_folder(tmp_path / name, n=6, seed=seed) for seed, name in enumerate("abcd"))
    network, config, places = model.load(BASE_CHECKPOINT), JobConfig(work=str(tmp_path), device="cpu"), np.arange(18)
    split = Split("by-driver", *np.split(places, 3), places, places, places, leaking=False)
    chosen, trained = TrialConfig("backbone", "target", 1e-3, 1, batch_size=6, head="ridge"), places[6:]

    def answers(folder: Path) -> tuple[np.ndarray, np.ndarray]:
        samples = (prepared.load(one) for one in (folder, *rest))
        data = Recordings(tuple(replace(one, chosen=Choice(None), driver=one.name) for one in samples))
        with closing(ActivationCache(tmp_path / "cache")) as cache:
            made = Job(config, "one", "", Base(network, "", ""), data, split, None, cache, ())  # type: ignore[arg-type]
            base_deg = unseen.base_answers(made)
            answered = unseen._answers(made, trained, trained, chosen, 1.0, base_deg)
        return answered, np.abs(base_deg - data.labels_deg)[trained]

    answered, off = answers(first)
    assert answered == pytest.approx(answers(other)[0], abs=1e-6)
    labels = Recordings(tuple(map(prepared.load, rest))).labels_deg
    assert np.abs(answered - labels).mean() < off.mean() / 2, "it has learnt nothing that could have leaked"


def test_a_model_whose_node_is_gone_is_trained_elsewhere_and_one_that_fails_ends_the_job(caplog):
    def said(fold) -> list[tuple[str, object]]:
        tries[fold.number] += 1
        if fold.number == 1 and tries[1] <= least:
            return [("cut off", "its node is gone")]
        return [("failed", "OutOfMemory: 3 GiB")] if fold.number == 2 else [("done", None)]

    folds, least, tries = [SimpleNamespace(number=k, name=f"fold-{k:03d}") for k in range(3)], 3, Counter()
    unseen._await(trials.Scripted(said, size=2), folds[:2], "one")
    assert tries == {0: 1, 1: 4}
    assert "fold-001: its node is gone; it is trained again" in caplog.text
    with pytest.raises(GazeError, match=r"leaving out drivers: OutOfMemory: 3 GiB; mend .* go on with study=one"):
        unseen._await(trials.Scripted(said), folds[2:], "one")
    least, tries = 4, Counter()
    with pytest.raises(GazeError, match="leaving out drivers: its node is gone"):
        unseen._await(trials.Scripted(said), folds[:2], "one")
