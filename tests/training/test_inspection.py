"""The labels of each drive are looked at before the search: in step, and in one convention."""

import logging
from types import SimpleNamespace

import drives
import mlflow
import numpy as np
import pytest
import torch

from recording import label_frame, preparation, recordings
from recording.drive import Source
from training import inspection
from training.config import JobConfig
from training.measuring import synchrony


@pytest.fixture
def run(tracking):
    with mlflow.start_run() as started:
        yield started.info.run_id


def looked_at(data: recordings.Recordings, answers_deg: np.ndarray, monkeypatch, asked: str = "auto") -> tuple:
    """What is found when the base answers ``answers_deg`` (n, 2) and its features say nothing."""
    source = SimpleNamespace(plain=lambda indices: torch.zeros(len(indices), 4))
    monkeypatch.setattr(inspection, "features", lambda *_: source)
    everything = np.arange(len(data))
    split = SimpleNamespace(name="blocks", train=everything[:-20], test=everything[-20:], block=everything // 10)
    job = SimpleNamespace(
        recordings=data, split=split, base=SimpleNamespace(network=None), cache=None, device=None,
        fitted_on=split.train, fitted=None, label_frames=label_frame.together(data.drives, asked),
    )  # fmt: skip
    return inspection.inspect(job, SimpleNamespace(answers_deg=answers_deg[split.train], variants={}))


def test_one_drive_with_another_sign_among_several_is_named(run, tmp_path, monkeypatch, caplog):
    folders = [drives.prepared_folder(tmp_path / f"drive-{k}", n=60, seed=k, flip_azimuth=k == 1) for k in range(3)]
    data = recordings.load(tuple(folders))
    seen = data.labels_deg * np.where(data.drive_index == 1, -1, 1)[:, None] ** np.array([1, 0])
    with caplog.at_level(logging.WARNING, "training.inspection"):
        found = looked_at(data, seen + np.random.default_rng(0).normal(scale=3, size=seen.shape), monkeypatch)
    assert [bool(one.differs) for one in found] == [False, True, False]
    assert "drive-1: video and labels: cannot tell" in caplog.text
    assert "azimuth looks FLIPPED" in mlflow.get_run(run).data.tags["labels"]


def test_a_prepared_drive_is_compared_with_its_trace(run, tmp_path, monkeypatch):
    video, table = drives.recording(tmp_path / "mine", seconds=30, fps=10)
    source = Source(video, table, label_offset_frames=2)
    folder = preparation.prepare(source, 100, tmp_path / "out", face_asked="8,8,40,40")
    data = recordings.load((folder,))
    faces = []
    monkeypatch.setattr(
        inspection, "compare", lambda *given: (faces.append(str(given[4])), synchrony.compare(*given))[1]
    )
    (found,) = looked_at(data, data.labels_deg, monkeypatch, "head")
    assert "THE ANGLES ARE RELATIVE TO THE HEAD" in found.line() and found.is_loud
    assert mlflow.get_run(run).data.tags["label_frame"] == "head"
    assert {sign.name for sign in found.synchrony.signs} >= {"eyes", "answers", "base"}
    assert faces == ["8,8,40,40"]  # the lids are looked for in there
    assert found.dropped["usable"] > 100
    assert inspection.label_offsets(data) == [2.0]
    assert found.synchrony.present == 2.0


def what_gives_more(used: recordings.Recordings, **asked) -> str:
    return inspection.more_samples(SimpleNamespace(recordings=used, config=JobConfig(**asked)))


def test_more_samples_come_from_where_the_ones_that_there_are_came_from(tmp_path):
    """samples= changes nothing where a folder is given, and nothing gives more than the drive's usable rows."""
    video, labels = drives.recording(tmp_path / "mine", seconds=20, fps=10)
    few, every = (
        preparation.prepare(Source(video, labels), n, tmp_path / f"{n}", face_asked="none") for n in (40, 999)
    )
    recorded = {"video": str(video), "labels": str(labels)}
    assert what_gives_more(recordings.load((few,)), **recorded) == "try samples=197"
    longer = "take a longer drive: all 197 usable rows of this one are used"
    assert what_gives_more(recordings.load((every,)), **recorded) == longer
    assert what_gives_more(recordings.load((every,)), data=str(every)) == longer
    anew = "prepare the drive anew with more samples, its CSV has 197 usable rows (samples= does nothing here)"
    assert what_gives_more(recordings.load((few,)), data=str(few)) == anew
    bare = drives.prepared_folder(tmp_path / "bare", n=30)
    into = f"put more pictures of the drive, each with its _gt.json, into {bare}"
    assert what_gives_more(recordings.load((bare,)), data=str(bare)) == into
    several = what_gives_more(recordings.load((few, bare)), data=f"{few},{bare}")
    assert several == f"add drives, or of bare, which has the fewest: {into}"
