"""``/invocations`` against MLflow's own server on the same version: the same numbers wherever both answer."""

import base64
import json
import os
import socket
import subprocess
import sys
import time

import httpx
import packages
import pytest

from registry import stages

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]

PICTURES = [base64.b64encode(packages.picture(azimuth, 5)).decode() for azimuth in (-20, 0, 20)]
RECORDS = [{"image": picture} for picture in PICTURES]
BODIES = {
    "dataframe_split": {"columns": ["image"], "data": [[picture] for picture in PICTURES]},
    "dataframe_records": RECORDS,
    "inputs": {"image": PICTURES},
    "instances": RECORDS,
}


@pytest.fixture
def theirs(make_version, tmp_path):
    make_version(bias_deg=(1, 2))
    stages.promote("gaze-tracker", 1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "models",
        "serve",
        "-m",
        "models:/gaze-tracker/Production",
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    with (tmp_path / "theirs.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command],
            env=os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},  # noqa: PTH120
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            end = time.monotonic() + 120
            while True:
                assert process.poll() is None, (tmp_path / "theirs.log").read_text()[-3000:]
                try:
                    if client.get("/ping").status_code == 200:
                        break
                except httpx.TransportError:
                    assert time.monotonic() < end, (tmp_path / "theirs.log").read_text()[-3000:]
                time.sleep(0.2)
            yield client
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def test_invocations_give_the_numbers_of_mlflow_models_serve(theirs, start_server):
    # In bfloat16 the same numbers come within the contract's tolerance (tests/serving/test_bfloat16.py).
    ours = start_server("--poll", "1", "--precision", "float32")
    ours.wait_ready(1)
    for shape, content in BODIES.items():
        body, headers = json.dumps({shape: content}), {"content-type": "application/json"}
        answer = ours.client.post("/invocations", content=body, headers=headers)
        assert answer.status_code == 200, (shape, answer.text)
        rows = answer.json()["predictions"]
        assert [row["azimuth_deg"] for row in rows] == pytest.approx([-19, 1, 21], abs=0.6)
        expected = theirs.post("/invocations", content=body, headers=headers)
        if shape in ("inputs", "instances"):
            # MLflow's server hands the base64 text of these two shapes to the model as it is; we decode it there too.
            assert expected.status_code == 400
            assert "neither JPEG nor PNG" in expected.text
            continue
        assert expected.status_code == 200, (shape, expected.text)
        for row, their_row in zip(rows, expected.json()["predictions"], strict=True):
            assert row == pytest.approx(their_row, abs=1e-3), shape
