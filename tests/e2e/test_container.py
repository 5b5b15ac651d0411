"""The container file of docs/deployment.md, carried out step by step in an empty folder: no engine is needed."""

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import packages
import pytest
from e2e.commands import ROOT

from registry import stages

pytestmark = pytest.mark.slow


def steps() -> list[tuple[str, str]]:
    """(instruction, arguments) of the container file."""
    (file,) = re.findall(r"```dockerfile\n(.*?)```", (ROOT / "docs/deployment.md").read_text(), re.DOTALL)
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in file.splitlines() if line]


def carry_out(folder: Path) -> None:
    """COPY and ``RUN pip`` in ``folder``, with a virtual environment in place of the image's Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PIP_NO_COMPILE"] = "0"  # which switches compiling off: what is imported is compiled then, the rest not
    for instruction, arguments in steps():
        if instruction == "COPY":
            source, target = arguments.split()
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile)(ROOT / source, folder / target)
        elif arguments.startswith("pip "):
            words = [word for word in shlex.split(arguments)[1:] if word != "--no-cache-dir"]  # half a gigabyte again
            command = [sys.executable, "-m", "pip", "--python", str(folder / "venv"), *words]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]


@contextmanager
def started(folder: Path, tracking: str) -> Iterator[str]:
    """The container's CMD, on a free port; the server's address once it is ready."""
    (command,) = (json.loads(arguments) for instruction, arguments in steps() if instruction == "CMD")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": f"{folder / 'venv/bin'}:/usr/bin:/bin",
        "MLFLOW_TRACKING_URI": tracking,
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HOME": str(folder),
    }
    program = shutil.which(command[0], path=environment["PATH"])
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, *command[1:], "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while not ready(f"http://127.0.0.1:{port}/readyz"):
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def ready(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def installed(folder: Path) -> set[str]:
    """Names of all packages in the environment, in lower case."""
    (packages,) = folder.glob("venv/lib/python*/site-packages")
    return {found.name.lower() for found in importlib.metadata.distributions(path=[str(packages)])}


def test_the_server_of_the_container_file_answers_without_torch_and_streamlit(
    tracking: str, tmp_path: Path, make_version: Callable[..., int]
) -> None:
    make_version()
    stages.promote("gaze-tracker", 1)
    image = tmp_path / "image"
    image.mkdir()
    carry_out(image)
    assert {"mlflow", "onnxruntime"} <= installed(image)
    assert installed(image).isdisjoint({"torch", "torchvision", "streamlit", "optuna", "pytest", "ruff"})
    with started(image, tracking) as address:
        sent = {"image": ("a.jpg", packages.picture(10, -5), "image/jpeg")}
        (answer,) = httpx.post(f"{address}/v1/gaze", files=sent, timeout=60).json()["answers"]
    assert (answer["azimuth_deg"], answer["elevation_deg"]) == pytest.approx((10, -5), abs=0.5)


def test_the_volume_belongs_to_the_user_that_the_server_runs_as() -> None:
    """A volume takes the owner of the folder that it is laid over: made and given away before USER and VOLUME."""
    instructions = [instruction for instruction, _ in steps()]
    (volume,) = (arguments for instruction, arguments in steps() if instruction == "VOLUME")
    (user,) = (arguments for instruction, arguments in steps() if instruction == "USER")
    owned = [n for n, (_, arguments) in enumerate(steps()) if f"--owner={user}" in arguments and volume in arguments]
    assert owned
    assert owned[0] < instructions.index("USER") < instructions.index("VOLUME")
