"""``/invocations`` against MLflow's own server on the same trained version: the same numbers wherever both answer."""

import base64

import httpx
import pytest
from e2e import browser
from e2e.commands import five_test_images

pytestmark = pytest.mark.slow


def test_the_server_and_mlflow_models_serve_give_the_numbers_of_the_test_table(promoted):
    images, table = five_test_images(promoted)
    pictures = [base64.b64encode(image.read_bytes()).decode() for image in images]
    records = [{"image": picture} for picture in pictures]
    bodies = {
        "dataframe_split": {"columns": ["image"], "data": [[picture] for picture in pictures]},
        "dataframe_records": records,
        "inputs": {"image": pictures},
        "instances": records,
    }
    serve = ["mlflow", "models", "serve", "-m", "models:/gaze-tracker/Production", "--env-manager", "local"]
    # In bfloat16 the same numbers come within the contract's tolerance (tests/serving/test_bfloat16.py).
    ours = ["serving", "--poll", "1", "--precision", "float32"]
    with (
        browser.running(promoted, *serve, health="/ping") as their_address,
        browser.running(promoted, *ours, health="/readyz") as our_address,
    ):
        for shape, content in bodies.items():
            answer = httpx.post(f"{our_address}/invocations", json={shape: content}, timeout=60)
            assert answer.status_code == 200, (shape, answer.text)
            rows = answer.json()["predictions"]
            for angle in ("azimuth_deg", "elevation_deg"):
                assert [row[angle] for row in rows] == pytest.approx(list(table[f"model_{angle}"]), abs=0.1), shape
            theirs = httpx.post(f"{their_address}/invocations", json={shape: content}, timeout=60)
            if shape in ("inputs", "instances"):
                # MLflow's server hands the base64 text of these two to the model as it is; we decode it there too.
                assert theirs.status_code == 400
                assert "neither JPEG nor PNG" in theirs.text
                continue
            assert theirs.status_code == 200, (shape, theirs.text)
            for row, their_row in zip(rows, theirs.json()["predictions"], strict=True):
                assert row == pytest.approx(their_row, abs=1e-3), shape
