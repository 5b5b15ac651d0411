"""Every package is pinned once, in the list of those who need it; conda.yaml, MLproject and the imports agree."""

import ast
import functools
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from training.cli import parser
from training.config import CurveConfig, EvaluateConfig, JobConfig, PretrainConfig

ROOT = Path(__file__).parent.parent
LISTS = ("serving", "app", "training", "cluster", "development")
OURS = {"recording", "registry", "training", "serving", "benchmarks"}
APP = ("serving/app.py", "serving/views")
"""What only ``python -m serving app`` runs."""
CLUSTER = ("training/searching/cluster.py", "training/searching/slots.py", "training/searching/nodes.py")
"""What only ``cluster=`` runs."""

NEEDED_WITHOUT_AN_IMPORT = {
    "websockets": "uvicorn answers /v1/stream with it",
    "onnxscript": "torch exports training/reporting/graph.onnx with it",
    "psycopg2-binary": "SQLAlchemy reaches PostgreSQL with it",
    "Flask-WTF": "MLflow's login pages need it",
    "boto3": "MLflow reaches S3 with it",
    "pytest-cov": "make test",
    "pytest-timeout": "pyproject.toml",
    "pytest-xdist": "make test",
    "coverage": "pyproject.toml",
    "ruff": "make lint",
    "mypy": "make lint",
    "types-psutil": "mypy",
    "types-PyYAML": "mypy",
    "types-tqdm": "mypy",
    "import-linter": "make lint",
    "uv": "mlflow run . --env-manager uv",
}


def lines(name: str) -> list[str]:
    """The lines of one list, comments aside."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(name: str) -> list[str]:
    """What one list adds to those that it names."""
    return [line for line in lines(name) if not line.startswith("-r ")]


def packages(name: str) -> set[str]:
    """All packages of a list and of those that it names."""
    named = [line.removeprefix("-r ").removesuffix(".txt") for line in lines(name) if line.startswith("-r ")]
    return {pin.split("==")[0] for pin in pins(name)}.union(*map(packages, named))


def imports(*places: str) -> Iterator[tuple[str, Path]]:
    """(top-level module, file) of every import from elsewhere, in files or whole folders."""
    for place in places:
        files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
        for file in files:
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module or ""]
                for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - OURS:
                    yield top, file


@functools.cache
def installed() -> dict[str, list[str]]:
    """Top-level module → packages; reading what every package holds takes seconds."""
    return dict(importlib.metadata.packages_distributions())


@functools.cache
def providers(top: str) -> set[str]:
    """The installed packages that bring a module, named as the lists name them."""
    found = installed().get(top, [])
    spelled = {re.sub(r"[-_.]+", "-", package).lower(): package for package in packages("development")}
    return {spelled.get(re.sub(r"[-_.]+", "-", package).lower(), package) for package in found}


def unpinned(name: str, *places: str, leaving_out: tuple[str, ...] = ()) -> list[str]:
    """Imports in ``places`` that no line of the list ``name`` pins."""
    known, own = packages(name), {"tests"} | {path.stem for path in (ROOT / "tests").iterdir()}
    return [
        f"{file.relative_to(ROOT)} imports {top}"
        for top, file in imports(*places)
        if not str(file.relative_to(ROOT)).startswith(leaving_out or ("\0",))
        and top not in own
        and not known & providers(top)
    ]


@pytest.mark.parametrize("name", LISTS)
def test_every_requirement_is_pinned_exactly(name):
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-\[\]]+==[A-Za-z0-9.]+", line) for line in pins(name))


def test_no_package_is_pinned_twice():
    named = [pin.split("==")[0].lower() for name in LISTS for pin in pins(name)]
    assert sorted(named) == sorted(set(named))


def test_requirements_are_all_lists():
    assert "-r requirements/development.txt" in (ROOT / "requirements.txt").read_text().splitlines()
    assert packages("development") == {pin.split("==")[0] for name in LISTS for pin in pins(name)}


def test_conda_environment_lists_the_pins_of_serving_and_training():
    environment = yaml.safe_load((ROOT / "conda.yaml").read_text())
    pip_part = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert pip_part == pins("serving") + pins("training")
    assert "python=3.11" in environment["dependencies"]


def test_the_server_imports_what_its_list_pins():
    assert unpinned("serving", "recording", "registry", "serving", leaving_out=APP) == []


def test_the_app_imports_what_its_list_pins():
    assert unpinned("app", *APP) == []


def test_training_imports_what_its_list_pins():
    assert unpinned("training", "training", leaving_out=CLUSTER) == []


def test_a_cluster_imports_what_its_list_pins_beside_those_of_training():
    assert {line.split("imports ")[1] for line in unpinned("training", *CLUSTER)} == packages("cluster") == {"ray"}


def test_the_plain_environment_is_without_what_only_a_cluster_needs():
    plain = {pin.split("==")[0] for pin in yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"][-1]["pip"]}
    assert "torch" in plain
    assert not packages("cluster") & (plain | packages("training") | packages("serving"))


def test_tests_and_benchmarks_import_what_the_lists_pin():
    assert unpinned("development", "tests", "benchmarks") == []


def test_every_pin_is_imported_or_its_need_is_named():
    places = {
        "serving": ("recording", "registry", "serving"),
        "app": APP,
        "training": ("training", "tests"),
        "cluster": CLUSTER,
    }
    for name in LISTS:
        used = set().union(*(providers(top) for top, _ in imports(*places.get(name, ("tests", "benchmarks")))))
        added = {pin.split("==")[0] for pin in pins(name)}
        assert added - used - NEEDED_WITHOUT_AN_IMPORT.keys() == set(), name


def test_the_server_has_neither_torch_nor_streamlit_nor_a_test_runner():
    assert packages("serving").isdisjoint({"torch", "torchvision", "streamlit", "optuna", "pytest"})


@pytest.mark.parametrize(
    ("entry", "config"),
    [("main", JobConfig), ("evaluate", EvaluateConfig), ("curve", CurveConfig), ("pretrain", PretrainConfig)],
)
def test_mlproject_has_the_parameters_and_defaults_of_the_command(entry, config):
    point = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"][entry]
    for field in fields(config):
        given = point["parameters"][field.name]["default"]
        assert type(field.default)(given) == field.default, field.name
        assert f"--{field.name} {{{field.name}}}" in point["command"]


@pytest.mark.parametrize("entry", ["main", "prepare", "evaluate", "curve", "pretrain"])
def test_every_entry_point_explains_itself(entry, capsys):
    with pytest.raises(SystemExit) as left:
        parser().parse_args([entry, "--help"])
    assert left.value.code == 0
    assert "usage: python -m training " + entry in capsys.readouterr().out
