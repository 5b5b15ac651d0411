"""The environment is pinned once: requirements.txt, conda.yaml and MLproject say the same."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from training.cli import parser
from training.evaluation import EvaluateConfig
from training.job import JobConfig

ROOT = Path(__file__).parent.parent


def requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_every_requirement_is_pinned_exactly():
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-\[\]]+==[A-Za-z0-9.]+", line) for line in requirements())


def test_conda_environment_lists_the_same_pins():
    environment = yaml.safe_load((ROOT / "conda.yaml").read_text())
    pip_part = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert pip_part == requirements()
    assert "python=3.11" in environment["dependencies"]


@pytest.mark.parametrize(("entry", "config"), [("main", JobConfig), ("evaluate", EvaluateConfig)])
def test_mlproject_has_the_parameters_and_defaults_of_the_command(entry, config):
    point = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"][entry]
    for field in fields(config):
        given = point["parameters"][field.name]["default"]
        assert type(field.default)(given) == field.default, field.name
        assert f"--{field.name} {{{field.name}}}" in point["command"]


@pytest.mark.parametrize("entry", ["main", "prepare", "evaluate", "pretrain"])
def test_every_entry_point_explains_itself(entry, capsys):
    with pytest.raises(SystemExit) as left:
        parser().parse_args([entry, "--help"])
    assert left.value.code == 0
    assert "usage: python -m training " + entry in capsys.readouterr().out
