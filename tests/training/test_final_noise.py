"""Labels of which one angle is noise: what is registered does not answer noise with noise."""

import contextlib
import io
import json
from pathlib import Path

import drives
import mlflow
import numpy as np
import pytest
import registries

from registry import opening, versions
from training import cli

pytestmark = pytest.mark.slow


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Pictures that show an azimuth, and an elevation that nobody can see in them."""
    folder = drives.prepared_folder(tmp_path / "samples", n=180)
    random = np.random.default_rng(7)
    for path in sorted(folder.glob("*_gt.json")):
        truth = json.loads(path.read_text())
        path.write_text(json.dumps(truth | {"elevation_deg": float(random.normal(scale=2.0))}))
    return folder


def test_an_angle_that_cannot_be_seen_is_answered_near_the_mean(noisy, empty_database, tmp_path, monkeypatch):
    with registries.fresh(tmp_path, empty_database, monkeypatch):
        arguments = ["--data", str(noisy), "--trials", "1", "--freeze", "layer3", "--bn", "source"]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert cli.main(["main", *arguments, "--epochs_min", "1", "--epochs_max", "1"]) == 0
        (version,) = versions.every("gaze-tracker")
        package = opening.fetch(version.model_name, version.number, version.seal, tmp_path / "package")
        report = mlflow.artifacts.load_text(f"runs:/{version.run_id}/report/report.html")
    kept = package.contract.training["kept_of_elevation"]
    assert 0 < kept < 0.9 and package.contract.training["kept_of_azimuth"] > kept
    line = f"the answers keep {kept:.2f} of their distance from the mean"
    assert f"elevation: {line}" in printed.getvalue() and f"Elevation: {line}" in report
    stated = package.contract.errors
    assert stated.model.elevation_error_deg < 1.1 * stated.constant.elevation_error_deg
