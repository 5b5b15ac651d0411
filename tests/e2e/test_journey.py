"""A stranger's recording and checkpoint, through all of it: run → look → promote → serve → predict."""

import json
from pathlib import Path

import cv2
import drives
import mlflow
import numpy as np
import pandas as pd
import pytest
from e2e.commands import five_test_images, parent_of

from recording import decoding, frames, layouts, recordings
from recording.exceptions import NoSuchVersion
from registry import holdout, lineage
from registry.holdout import Holdout
from serving.__main__ import main as serving_main
from training import cli
from training.measuring import errors

pytestmark = pytest.mark.slow


def test_the_terminal_says_the_table_the_verdict_and_how_to_promote(journey):
    said = (journey.folder / "out.txt").read_text()
    for line in (
        "base (before)",
        "constant",
        "linear calibration",
        "fine-tuned",
        "verdict: ",
        "search: 3 of 3 trials",
        "registered: gaze-tracker",
    ):
        assert line in said
    assert "python -m registry promote --version 1 --stage Production" in said
    assert "rendered sample drive" not in said
    assert "Downloading artifacts" not in said  # MLflow's progress bars, in the middle of the last lines


def test_dropped_rows_are_counted_by_reason(journey):
    (notes,) = (journey.folder / "data" / "prepared").glob("*/drive.json")
    dropped = json.loads(notes.read_text())["labels"]["dropped"]
    assert sum(dropped.values()) == 1 + 1 + 2 + 5  # malformed line, text as frame, blank angles, past the end
    assert "dropped" in (journey.folder / "out.txt").read_text()


def test_the_parent_run_holds_the_report_and_the_children_their_epochs(journey):
    runs = journey.runs()
    parent = parent_of(journey)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for prefix in ("test", "base", "constant", "calibrated"):
        for angle in ("azimuth", "elevation", "angular"):
            assert f"{prefix}/{angle}_error_deg" in parent.data.metrics
    assert parent.data.params["samples"] == "150"
    assert parent.inputs.dataset_inputs[0].dataset.digest
    assert parent.data.tags["data_source"] == "recording"
    client = mlflow.MlflowClient(journey.uri)
    names = {
        artifact.path
        for folder in ("figures", "tables", "report")
        for artifact in client.list_artifacts(parent.info.run_id, folder)
    }
    assert {"figures/before_after.png", "figures/trials.png", "tables/scenarios.json", "report/report.html"} <= names
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in children) == ["trial-000", "trial-001", "trial-002"]
    for child in children:
        history = client.get_metric_history(child.info.run_id, "val/angular_error_deg")
        assert [point.step for point in history] == list(range(len(history)))  # 0: the start, before any training
        assert {"freeze", "bn", "lr", "epochs"} <= set(child.data.params)


def test_the_chosen_trial_is_the_one_with_the_best_validation_error(journey):
    children = [run for run in journey.runs() if "mlflow.parentRunId" in run.data.tags]
    best = min(children, key=lambda run: run.data.metrics["best/angular_error_deg"])
    (version,) = mlflow.MlflowClient(journey.uri).search_model_versions("name='gaze-tracker'")
    folder = mlflow.artifacts.download_artifacts(f"models:/gaze-tracker/{version.version}")
    contract = json.loads(next(Path(folder).rglob("contract.json")).read_text())
    assert f"trial-{contract['training']['trial']:03d}" == best.info.run_name
    assert contract["rendered_sample_drive"] is False


def test_predictions_are_refused_until_a_version_is_promoted(journey):
    (image, *_), _ = five_test_images(journey)
    with journey.inside(), pytest.raises(NoSuchVersion, match="promote") as refused:
        serving_main(["predict", str(image), "--model", "gaze-tracker", "--stage", "Staging"])
    assert "\n" not in str(refused.value)


def test_predict_gives_the_angles_of_the_test_table_and_needs_no_torch(promoted):
    """Torch out of reach, not only not imported so far; and every module of the HTTP server."""
    images, table = five_test_images(promoted)
    code = (
        "import sys; sys.modules['torch'] = None; from serving import api, server; from serving.__main__ import main; "
        "sys.exit(main(['predict', *sys.argv[1:], '--model', 'gaze-tracker', '--stage', 'Production']))"
    )
    done = promoted.python("-c", code, *map(str, images))
    answers = [json.loads(line) for line in done.stdout.strip().splitlines()]
    assert len(answers) == 5
    for answer, (_, row), image in zip(answers, table.iterrows(), images, strict=True):
        assert Path(answer["file"]).name == image.name
        assert answer["azimuth_deg"] == pytest.approx(row["model_azimuth_deg"], abs=0.1)
        assert answer["elevation_deg"] == pytest.approx(row["model_elevation_deg"], abs=0.1)
        assert str(answer["version"]) == "1"


def test_pyfunc_answers_on_jpeg_bytes_by_stage(promoted):
    images, table = five_test_images(promoted)
    mlflow.set_tracking_uri(promoted.uri)
    loaded = mlflow.pyfunc.load_model("models:/gaze-tracker/Production")
    answers = loaded.predict(pd.DataFrame({"image": [image.read_bytes() for image in images]}))
    assert list(answers.columns) == ["azimuth_deg", "elevation_deg"]
    assert answers["azimuth_deg"].to_numpy() == pytest.approx(table["model_azimuth_deg"].to_numpy(), abs=0.1)


def test_the_face_was_found_and_the_contract_says_where(promoted):
    mlflow.set_tracking_uri(promoted.uri)
    package = Path(mlflow.artifacts.download_artifacts("models:/gaze-tracker/1"))
    face = json.loads(next(package.rglob("contract.json")).read_text())["crop"]["face"]
    assert (face["width"], face["height"]) == drives.DRIVER[2:]
    # The face is drawn from (152, 135) to (323, 365), and moves a little.
    left, top, right, bottom = face["x"], face["y"], face["x"] + face["w"], face["y"] + face["h"]
    assert 60 <= left < 152 and 323 < right <= 420 and 70 <= top < 135 and 365 < bottom <= 440
    assert f"face rectangle {face['x']},{face['y']},{face['w']}" in (promoted.folder / "out.txt").read_text()


def test_a_frame_has_the_same_angles_in_the_video_as_composite_and_as_driver_view(promoted, tmp_path, capsys):
    video, _ = drives.recording(tmp_path, seconds=4, fps=8, share=0.6)
    index = frames.scan(video)
    view = layouts.views_for("dashgaze", index.width, index.height)["driver"]
    pictures = []
    for number, frame in decoding.in_order_rgb(video, index):
        if number in (8, 25):
            alone = frame[view.y : view.y + view.h, view.x : view.x + view.w]
            for name, picture in ((f"{number}_composite", frame), (f"{number}_alone", alone)):
                pictures.append(tmp_path / f"{name}.png")
                cv2.imwrite(str(pictures[-1]), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    given = [str(path) for path in (*pictures, video)]
    with promoted.inside():
        assert serving_main(["predict", *given, "--model", "gaze-tracker"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.strip().splitlines()]
    followed = {row["frame"]: row for row in rows if "frame" in row}
    assert len(followed) == index.frames == 32
    for row in rows[: len(pictures)]:
        same = followed[int(Path(row["file"]).name.split("_")[0])]
        assert row["azimuth_deg"] == pytest.approx(same["azimuth_deg"], abs=0.001), row
        assert row["elevation_deg"] == pytest.approx(same["elevation_deg"], abs=0.001), row


def test_evaluate_finds_the_test_errors_again(promoted, capsys):
    (folder,) = (promoted.folder / "data" / "prepared").iterdir()
    with promoted.inside():
        assert cli.main(["evaluate", "--data", str(folder), "--work", "data"]) == 0
    assert "held-out of" in capsys.readouterr().out
    run = next(run for run in promoted.runs() if run.data.tags.get("evaluated"))
    # The same figure another way: the registered model on the picture files that its package says it has not seen.
    mlflow.set_tracking_uri(promoted.uri)
    package = Path(mlflow.artifacts.download_artifacts("models:/gaze-tracker/1"))
    kept = Holdout.read(next(package.rglob(holdout.FILE_NAME)).read_bytes())
    data = recordings.load((folder,))
    unseen = np.flatnonzero(~kept.saw(lineage.of(data, np.arange(len(data)), 0)))
    pictures = pd.DataFrame({"image": [data.driver_path(index).read_bytes() for index in unseen]})
    answers = mlflow.pyfunc.load_model("models:/gaze-tracker/1").predict(pictures).to_numpy()
    expected = errors.per_sample(answers, data.labels_deg[unseen]).mean(axis=0)
    for angle, value in zip(("azimuth", "elevation", "angular"), expected, strict=True):
        assert run.data.metrics[f"test/{angle}_error_deg"] == pytest.approx(value, abs=0.02)
