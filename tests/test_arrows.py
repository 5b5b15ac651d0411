"""Arrows between rooms point one way: the contracts of pyproject.toml hold, and each fails when its arrow is turned."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("recording", "registry", "training", "serving", "benchmarks")
TURNED = {
    "a recording that reads the registry": ("recording/layouts.py", "import registry.contract", "Rooms"),
    "a registry that trains": ("registry/card.py", "import training.job", "Rooms"),
    "a server that trains": ("serving/pictures.py", "from training.learning import model", "Rooms"),
    "training that serves": ("training/job.py", "from serving import predictor", "Rooms"),
    "torch on the ground floor": ("recording/angles.py", "import torch", "A recording is read"),
    "MLflow on the ground floor": ("recording/layouts.py", "import mlflow", "A recording is read"),
    "torch in the server": ("serving/predictor.py", "import torch", "Registry and server"),
    "torch behind the server": ("registry/network.py", "import torchvision", "Registry and server"),
    "Streamlit outside the app": ("serving/api.py", "import streamlit", "Streamlit"),
    "Ray without a cluster": ("training/searching/process.py", "import ray", "Ray is the cluster's"),
    "HTTP in training": ("training/job.py", "import fastapi", "Training has no HTTP"),
    "learning that searches": ("training/learning/model.py", "import training.searching.study", "Training: "),
    "measuring that reports": ("training/measuring/errors.py", "import training.reporting.report", "Training: "),
    "two modules that need each other": ("registry/contract.py", "import registry.gate", "No two modules"),
}
CYCLE = "No cycles are allowed in registry."


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """``lint-imports`` in ``folder``."""
    command = [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What ``lint-imports`` says of a copy of the rooms in which every arrow is turned."""
    folder = tmp_path_factory.mktemp("turned")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=lambda _, names: [n for n in names if _is_data(n)])
    shutil.copy(ROOT / "pyproject.toml", folder)
    for file, line, _ in TURNED.values():
        with (folder / file).open("a") as code:
            code.write(f"\n{line}\n")
    done = lint(folder)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def _is_data(name: str) -> bool:
    return "." in name and not name.endswith(".py")


def test_the_contracts_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("case", TURNED)
def test_an_arrow_turned_on_purpose_breaks_its_contract(turned: str, case: str) -> None:
    file, line, contract = TURNED[case]
    broken = [said for said in turned.splitlines() if " BROKEN" in said]
    assert any(said.startswith(contract) for said in broken), turned
    # Each by its own arrow: what the contract says names this very import.
    said = turned[turned.index("Broken contracts") :].partition(f"\n{contract}")[2]
    said = said.partition("-\n")[2].partition("\n---")[0]  # between its heading and the next one
    assert (CYCLE if "each other" in case else f"{_arrow(file, line)} (l.") in said, said


def _arrow(file: str, line: str) -> str:
    """An import as ``lint-imports`` names it."""
    importer = file.removesuffix(".py").replace("/", ".")
    return f"{importer} -> {line.replace('from ', '').replace(' import ', '.').replace('import ', '')}"
