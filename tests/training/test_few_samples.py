"""Where the time is short, what takes no gradient steps is computed from some of the samples."""

import re

import drives
import mlflow
import numpy as np
import pytest

from training import cli, few_samples, job
from training.few_samples import affordable, spread
from training.searching.space import SearchSpace


@pytest.mark.parametrize(
    ("timeout", "seconds", "train", "validation", "fitted"),
    [
        (0, 10.0, 5000, 500, 5000),  # all the time in the world
        (480, 0.01, 5000, 500, 5000),  # 110 s are not short of 480
        (300, 0.083, 1456, 182, 512),  # 272 s would be nine tenths
        (300, 0.04, 1456, 182, 512),  # 131 s; there is room for 755
        (600, 0.03, 5000, 500, 1024),  # there is room for 2,000
        (10, 1.0, 600, 100, 512),  # so many in any case
        (10, 1.0, 300, 100, 300),
    ],
)
def test_so_many_are_fitted_on_that_time_to_learn_is_left(timeout, seconds, train, validation, fitted):
    assert affordable(SearchSpace(timeout=timeout), seconds, train, validation) == fitted


def test_they_lie_over_the_whole_drive():
    samples = np.arange(0, 3000, 3)
    some = spread(samples, 512)
    assert len(np.unique(some)) == 512
    assert set(some) <= set(samples)
    assert (some[0], some[-1]) == (samples[0], samples[-1])
    assert np.diff(some).max() <= 6
    assert list(spread(samples, 5000)) == list(samples)


@pytest.mark.slow
def test_a_job_that_is_short_of_time_fits_on_some_samples_and_goes_on_with_these(
    tracking, tmp_path, monkeypatch, capsys
):
    folder = drives.prepared_folder(tmp_path / "drive", n=200)
    monkeypatch.setattr(few_samples, "FEWEST", 32)
    monkeypatch.setattr(few_samples, "seconds_a_picture", lambda *_: 100.0)
    trained, start = [], job.Processes.start
    monkeypatch.setattr(job.Processes, "start", lambda ours, spec: trained.append(spec) or start(ours, spec))
    common = ["main", "--data", str(folder), "--face", "none", "--timeout", "30000", "--study", "short"]
    common += ["--freeze", "backbone,layer3", "--bn", "target", "--epochs_min", "1", "--epochs_max", "1"]
    assert cli.main([*common, "--trials", "1"]) == 0
    said = capsys.readouterr()
    printed = said.out + said.err
    assert "fitted on 32 of" in printed
    assert "solved on 32 of 200 samples" in printed
    version = mlflow.MlflowClient().get_model_version("gaze-tracker", "1")
    report = mlflow.artifacts.load_text(f"runs:/{version.run_id}/report/report.html")
    assert re.search(r"Linear calibration, fitted on 32 of the \d+ training samples: ", report)

    # Resumed on a machine that is fast: with the same samples, or its trials could not be compared.
    monkeypatch.setattr(few_samples, "seconds_a_picture", lambda *_: 1e-6)
    assert cli.main([*common, "--trials", "2"]) == 0
    assert "fitted on 32 of" in "".join(capsys.readouterr())
    fitted = {spec.config.freeze: len(spec.train) for spec in trained}
    assert fitted["backbone"] == 32
    assert fitted["layer3"] > 90, "a trial that learns sees all of them"


@pytest.mark.slow
def test_a_search_from_before_goes_on_with_all_samples(tracking, tmp_path, monkeypatch, capsys):
    folder = drives.prepared_folder(tmp_path / "drive", n=120)
    common = ["main", "--data", str(folder), "--face", "none", "--study", "old", "--freeze", "backbone"]
    common += ["--bn", "target", "--epochs_min", "1", "--epochs_max", "1"]
    with monkeypatch.context() as before:
        before.setattr(job.few_samples, "chosen", lambda work, study: work)
        assert cli.main([*common, "--trials", "1"]) == 0
    monkeypatch.setattr(few_samples, "FEWEST", 32)
    monkeypatch.setattr(few_samples, "seconds_a_picture", lambda *_: 100.0)
    capsys.readouterr()
    assert cli.main([*common, "--trials", "2", "--timeout", "15000"]) == 0
    assert "fitted on" not in "".join(capsys.readouterr())
