"""Every page of the app in a real browser, on a model that was really trained; numbers against the files."""

import contextlib
import io
import json
import re
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from e2e import browser
from e2e.commands import Place, parent_of

from recording import angles
from registry import registration, stages
from serving import predict

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def prepared(place: Place) -> Path:
    (folder,) = (place.folder / "data" / "prepared").iterdir()
    return folder


@pytest.fixture(scope="module")
def app(own_registry, promoted):
    with browser.running(
        own_registry, "serving", "app", "--data", str(prepared(promoted)), health="/_stcore/health"
    ) as address:
        yield address


def predicted(place: Place, picture: Path) -> dict:
    """What ``python -m serving predict`` answers; in this process, which has imported what it needs."""
    mlflow.set_tracking_uri(place.uri)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert predict.main([str(picture)]) == 0
    return json.loads(said.getvalue())


def metric(page, label: str) -> float:
    """The number under a label of the page, degrees."""
    value = page.get_by_test_id("stMetric").filter(has_text=label).get_by_test_id("stMetricValue").inner_text()
    return float(re.search(r"[-+−]?\d+(\.\d+)?", value.replace("−", "-")).group())


def shows(page, label: str, expected: float, within: float, seconds: float = 30) -> None:
    """Streamlit draws a page bit by bit: the number under a label becomes the expected one."""
    deadline = time.monotonic() + seconds
    while abs(metric(page, label) - expected) > within and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert metric(page, label) == pytest.approx(expected, abs=within), label


def test_comparison_shows_the_truth_of_the_frame_and_the_answer_of_the_server(chromium, app, promoted):
    with browser.page(chromium) as page:
        page.goto(app)
        page.get_by_text("Measured azimuth").wait_for()
        for scenario in ("1", "7"):
            if scenario != "1":
                before = page.get_by_text(re.compile(r"Frame \d+ \(")).first.inner_text()
                page.get_by_role("radio", name=scenario, exact=True).click()
                page.wait_for_function(
                    "before => [...document.querySelectorAll('[data-testid=stImageCaption]')]"
                    ".some(e => /Frame \\d+ \\(/.test(e.innerText) && e.innerText.trim() !== before.trim())",
                    arg=before,
                )
            caption = page.get_by_text(re.compile(r"Frame \d+ \(")).first.inner_text()
            frame = int(re.search(r"Frame (\d+)", caption).group(1))
            assert f"scenario {scenario};" in caption
            (truth,) = (
                path
                for path in prepared(promoted).glob("frame_*_gt.json")
                if int(re.search(r"frame_(\d+)", path.name).group(1)) == frame
            )
            measured = json.loads(truth.read_text())
            shows(page, "Measured azimuth", measured["azimuth_deg"], 0.06)
            shows(page, "Measured elevation", measured["elevation_deg"], 0.06)
            answer = predicted(promoted, Path(str(truth).replace("_gt.json", "_driver.jpg")))
            error = angles.wrap_deg(
                np.array([answer["azimuth_deg"], answer["elevation_deg"]])
                - np.array([measured["azimuth_deg"], measured["elevation_deg"]])
            )
            shows(page, "Azimuth error", error[0], 0.11)
            shows(page, "Elevation error", error[1], 0.11)


def test_drive_page_finds_the_errors_of_the_report(chromium, app, promoted):
    run_id = parent_of(promoted).info.run_id
    text = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/tables/test_predictions.csv")
    table = pd.read_csv(text)
    with browser.page(chromium) as page:
        page.goto(app + "/drive")
        page.get_by_text("Worst frames").wait_for(timeout=120_000)
        page.get_by_text("held out (").wait_for()
        shows(page, "Frames", len(table), 0)
        for angle in ("azimuth", "elevation"):
            expected = (table[f"model_{angle}_deg"] - table[f"measured_{angle}_deg"]).abs().mean()
            shows(page, f"Mean {angle} error", expected, 0.11)


def test_try_it_answers_an_uploaded_picture_as_predict_does(chromium, app, promoted):
    picture = sorted(prepared(promoted).glob("*_driver.jpg"))[10]
    answer = predicted(promoted, picture)
    with browser.page(chromium) as page:
        page.goto(app + "/try")
        page.locator("input[type=file]").first.set_input_files(str(picture))
        page.get_by_text("Answered by").wait_for()
        shows(page, "Azimuth", answer["azimuth_deg"], 0.11)
        shows(page, "Elevation", answer["elevation_deg"], 0.11)


def test_a_promotion_shows_up_on_the_open_page(chromium, app, own_registry, promoted):
    run_id = parent_of(promoted).info.run_id
    mlflow.set_tracking_uri(own_registry.uri)  # after the line above, which looks into the other one
    folder = mlflow.artifacts.download_artifacts("models:/gaze-tracker/1")
    package = next(Path(folder).rglob("contract.json")).parent
    with browser.page(chromium) as page:
        page.goto(app + "/versions")
        page.get_by_text("gaze-tracker version 1").wait_for()
        assert "journey" in page.get_by_text("Reason given").inner_text()
        second = registration.register(package, model_name="gaze-tracker", run_id=run_id)
        assert second == 2
        stages.promote("gaze-tracker", 2, force=True, why="seen in the browser")
        page.get_by_text("gaze-tracker version 2").wait_for(timeout=30_000)
        page.get_by_text("seen in the browser").first.wait_for()
        page.get_by_text(re.compile("seen in the browser; gate (passed|failed: )")).wait_for(state="attached")
