"""``final=all``: what is registered has learnt from every sample, what is measured is its twin, which has not."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import drives
import numpy as np
import pytest
import registries

from recording.exceptions import InputError
from registry import comparison, contract, gate, opening, versions
from registry.versions import Version
from serving import prepared
from training import cli

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Jobs:
    """Two jobs on one study: the second one only trains in the end, on everything."""

    folder: Path
    held_out: Version
    all: Version
    said: str
    """By the second one."""


@pytest.fixture(scope="module")
def jobs(empty_database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    folder = drives.prepared_folder(tmp_path_factory.mktemp("data") / "samples", n=100)
    place = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch, registries.fresh(place, empty_database, patch):
        arguments = ["--data", str(folder), "--study", "one", "--trials", "1", "--freeze", "backbone"]
        arguments += ["--bn", "target", "--epochs_min", "2", "--epochs_max", "2"]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert cli.main(["main", *arguments]) == 0
            first = printed.tell()
            assert cli.main(["main", *arguments, "--final", "all"]) == 0
        newest, before = sorted(versions.every("gaze-tracker"), key=lambda version: -version.number)
        yield Jobs(folder, before, newest, printed.getvalue()[first:])


def test_the_errors_are_those_of_the_model_that_held_the_test_blocks_out(jobs, tmp_path):
    before, now = (
        opening.fetch(one.model_name, one.number, one.seal, tmp_path / str(one.number))
        for one in (jobs.held_out, jobs.all)
    )
    assert now.contract.errors == before.contract.errors
    twin, shown = now.measured_network(), now.holdout().jpegs
    cut = now.contract.crop.settled(now.holdout().face).cut_driver_view
    answers = [network.predict_encoded(shown, cut=cut) for network in (twin, before.network(), now.network())]
    np.testing.assert_array_equal(answers[0], answers[1])  # the same training, to the last bit
    assert np.abs(answers[2] - answers[0]).max() > 0.05
    assert (before.contract.contract_version, now.contract.contract_version) == (3, 4)
    assert (before.contract.training["final"], now.contract.training["final"]) == ("held-out", "all")
    assert before.contract.training["train_samples"] < now.contract.training["train_samples"] == 100
    assert "fine-tuned: its twin (final=all)" in jobs.said
    assert f"100 of 100 samples; the errors are its twin's, trained on {before.contract.training['train_samples']}" in (
        jobs.said
    )
    assert "It was trained on these samples too" in jobs.all.description
    assert (jobs.all.tags.get(versions.TWIN_TAG), jobs.held_out.tags.get(versions.TWIN_TAG)) == ("true", None)


def test_the_lineage_says_that_everything_was_seen(jobs, tmp_path):
    package = opening.fetch(jobs.all.model_name, jobs.all.number, jobs.all.seal, tmp_path)
    samples, kept = prepared.read(jobs.folder), package.holdout()
    assert set(prepared.parts(samples, kept)) == {"trained on"}
    (seen,) = package.contract.seen.values()
    assert seen == samples.table["frame"].tolist()
    assert kept.saw(kept.footage).all() and not kept.measured_saw(kept.footage).any()
    with pytest.raises(InputError, match=r"trained on .* every frame given; .* its twin .* in its contract"):
        cli.main(["evaluate", "--data", str(jobs.folder), "--model", f"models:/gaze-tracker/{jobs.all.number}"])
    with pytest.raises(InputError, match="base: it was trained on"):
        cli.main(["main", "--data", str(jobs.folder), "--base", f"models:/gaze-tracker/{jobs.all.number}"])


def test_the_gate_measures_the_twin_and_compares_it_with_a_champion_of_the_same_drive(jobs, tmp_path):
    opened = comparison.open_package(jobs.all, tmp_path)
    checks = {check.name: check for check in gate.on_its_own(opened, gate.configure())}
    assert checks["stated errors come out again"].passed
    assert checks["held-out samples"].found == str(opened.contract.errors.samples)
    other = comparison.open_package(jobs.held_out, tmp_path)
    for first, second in ((opened, other), (other, opened)):
        compared = comparison.compare(first, second, second.holdout)
        assert len(compared) == opened.contract.errors.samples and compared.left_out == 0
        np.testing.assert_array_equal(compared.first_deg, compared.second_deg)


def test_whoever_loads_the_version_gets_the_model_and_not_its_twin(jobs, tmp_path):
    import mlflow.pyfunc
    import pandas as pd

    package = opening.fetch(jobs.all.model_name, jobs.all.number, jobs.all.seal, tmp_path)
    picture = next(jobs.folder.glob("*_driver.jpg")).read_bytes()
    loaded = mlflow.pyfunc.load_model(f"models:/gaze-tracker/{jobs.all.number}")
    answer = loaded.predict(pd.DataFrame({"image": [picture]}))
    cut = package.contract.crop.settled(package.holdout().face).cut_driver_view
    expected = contract.GazeNetwork(package.content(contract.NETWORK)).predict_encoded([picture], cut=cut)[0]
    assert answer[["azimuth_deg", "elevation_deg"]].to_numpy()[0] == pytest.approx(expected, abs=1e-3)
