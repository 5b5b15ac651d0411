"""The examples of docs/serving.md, run as they stand there against a real server."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import packages
import pytest
import registries

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## Answers")[1].split("\n## ")[0]
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL) for line in block.splitlines() if line
]
PROGRAMS = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
GAZE = (10.0, -5.0)

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="curl is not on this machine"
)


@pytest.fixture(scope="module")
def server(server_process, empty_database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    with registries.in_production(folder, empty_database):
        started = server_process(folder)
        started.wait_ready(1)
        yield started
        started.stop()


@pytest.fixture
def here(server, tmp_path, monkeypatch):
    """A served version, and the pictures that the examples name; ``here(text)`` is ``text`` with the server's port."""
    monkeypatch.chdir(tmp_path)
    for name in ("frame_driver.jpg", "other_driver.jpg"):
        (tmp_path / name).write_bytes(packages.picture(*GAZE))
    composite = np.full((540, 1504, 3), 255, dtype=np.uint8)
    driver = cv2.imdecode(np.frombuffer(packages.picture(*GAZE), np.uint8), cv2.IMREAD_COLOR)
    composite[4:538, 3:478] = cv2.resize(driver, (475, 534))
    cv2.imwrite(str(tmp_path / "composite.jpg"), composite)
    return lambda text: text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")


def test_the_page_has_examples_of_every_way_to_ask():
    assert len(COMMANDS) >= 6
    assert all(command.startswith("curl ") for command in COMMANDS)
    assert len(PROGRAMS) == 3


@needs_curl
def test_every_curl_command_gets_the_painted_angles_or_the_model_in_the_form_shown(here):
    shown = json.loads(re.search(r"```json\n(.*?)```", SECTION, re.DOTALL).group(1))
    for command in COMMANDS:
        done = subprocess.run(["bash", "-c", here(command)], capture_output=True, text=True, check=True, timeout=60)
        content = json.loads(done.stdout)
        if "/v1/gaze" not in command:
            assert (content["model"], content["version"]) == ("gaze-tracker", 1), command
            continue
        assert len(content["answers"]) == max(1, command.count("-F ")), command
        for answer in content["answers"]:
            assert (answer["azimuth_deg"], answer["elevation_deg"]) == pytest.approx(GAZE, abs=1), command
        if command == COMMANDS[0]:
            assert list(content) == list(shown)
            assert list(content["answers"][0]) == list(shown["answers"][0])
            assert content["answers"][0]["name"] == shown["answers"][0]["name"]


def test_every_python_program_prints_the_painted_angles(here):
    for program in PROGRAMS:
        done = subprocess.run([sys.executable, "-c", here(program)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", done.stdout)]
        assert numbers, done.stdout
        for number in numbers:
            assert min(abs(number - angle) for angle in GAZE) < 1, (program, done.stdout)
