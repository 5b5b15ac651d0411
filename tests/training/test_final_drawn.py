"""A trial whose elevation is mostly noise: what is registered keeps a share of it, and everybody is told."""

import contextlib
import io
import json
import sqlite3
from pathlib import Path

import drives
import mlflow
import numpy as np
import pytest
import registries

from recording import recordings
from registry import opening, versions
from training import cli

pytestmark = pytest.mark.slow

KEPT = 0.4


def found_noisy(study: Path) -> None:
    """As if the trial of this study had shown more noise than gaze in its elevation."""
    with contextlib.closing(sqlite3.connect(study / "study.db")) as database, database:
        ((result,),) = database.execute("select value_json from trial_user_attributes where key = 'result'")
        told = json.loads(result)
        told["best"]["kept"] = [KEPT, 1.0]
        changed = database.execute(
            "update trial_user_attributes set value_json = ? where key = 'result'", [json.dumps(told)]
        )
        assert changed.rowcount == 1


def test_what_is_registered_is_drawn_to_the_mean_of_the_labels_it_learnt(empty_database, tmp_path, monkeypatch):
    folder = drives.prepared_folder(tmp_path / "samples", n=100)
    arguments = ["main", "--data", str(folder), "--study", "one", "--trials", "1", "--freeze", "backbone"]
    arguments += ["--bn", "target", "--epochs_min", "2", "--epochs_max", "2"]
    with registries.fresh(tmp_path, empty_database, monkeypatch):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert cli.main(arguments) == 0
            assert "distance from the mean" not in printed.getvalue()
            found_noisy(tmp_path / "data" / "studies" / "one")
            assert cli.main(arguments) == 0
        drawn, plain = sorted(versions.every("gaze-tracker"), key=lambda version: -version.number)
        report = mlflow.artifacts.load_text(f"runs:/{drawn.run_id}/report/report.html")
        packages = [
            opening.fetch(one.model_name, one.number, one.seal, tmp_path / str(one.number)) for one in (drawn, plain)
        ]
    line = f"the answers keep {KEPT:.2f} of their distance from the mean"
    assert f"elevation: {line}" in printed.getvalue() and f"Elevation: {line}" in report
    shares = [[one.contract.training[f"kept_of_{angle}"] for angle in ("azimuth", "elevation")] for one in packages]
    assert shares == [[1.0, KEPT], [1.0, 1.0]]

    shown, (trained,) = packages[0].holdout().jpegs, packages[0].contract.seen.values()
    cut = packages[0].contract.crop.settled(packages[0].holdout().face).cut_driver_view
    after, before = (one.network().predict_encoded(shown, cut=cut) for one in packages)
    data = recordings.load((folder,))
    mean = data.labels_deg[np.isin(data.frames, trained)].mean(axis=0)
    np.testing.assert_allclose(after[:, 0], before[:, 0], atol=1e-3)
    np.testing.assert_allclose(after[:, 1], mean[1] + KEPT * (before[:, 1] - mean[1]), atol=1e-3)
    assert np.abs(after[:, 1] - before[:, 1]).max() > 0.5
