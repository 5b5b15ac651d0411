"""A stand-in for conda, which cannot be installed everywhere: the calls that ``mlflow run`` makes of it.

``conda --help``, ``conda env list --json``, ``conda env create -n NAME --file FILE`` and, sourced from
``etc/profile.d/conda.sh``, ``conda activate NAME``. An environment is a real virtual environment of its own. Where
conda would download, this checks: the file's Python must be this one, and every pin of its pip part must be what the
tests run with, whose packages are then linked into the environment. What conda's own solver would say is not tested.
"""

import importlib.metadata
import json
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import yaml


def install(home: Path) -> Path:
    """Lay out a conda installation in ``home`` (for ``MLFLOW_CONDA_HOME``); its log of calls."""
    program, profile = home / "bin" / "conda", home / "etc" / "profile.d" / "conda.sh"
    for file in (program, profile):
        file.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{home}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    profile.write_text(
        "conda() {\n"
        f'  "{program}" "$@" || return\n'
        f'  if [ "$1" = activate ]; then export PATH="{home}/envs/$2/bin:$PATH"; fi\n'
        "}\n"
    )
    return home / "calls.log"


def conda(home: Path, arguments: list[str]) -> str:
    """Answer one call; what conda would print. Ends the process when conda would refuse."""
    with (home / "calls.log").open("a") as log:
        log.write(" ".join(arguments) + "\n")
    match arguments:
        case ["--help"]:
            return "usage: conda [-h] command ..."
        case ["env", "list", "--json"]:
            return json.dumps({"envs": [str(folder) for folder in home.glob("envs/*")]})
        case ["env", "create", "-n", name, "--file", file]:
            check(yaml.safe_load(Path(file).read_text()))
            build(home / "envs" / name)
            return f"done: {name}"
        case ["activate", name] if (home / "envs" / name).is_dir():
            return ""
    sys.exit(f"conda (stand-in): MLflow is not known to call {arguments}")


def check(environment: dict) -> None:
    """Refuse a file that asks for another Python or another package than the tests run with."""
    plain = [part for part in environment["dependencies"] if isinstance(part, str)]
    ours = f"python={sys.version_info.major}.{sys.version_info.minor}"
    if plain != [ours, "pip"]:
        sys.exit(f"PackagesNotFoundError: {plain} is not what is here: {ours}, pip")
    (pins,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    for name, wanted in (pin.split("==") for pin in pins):
        # A local label, as of torch's CPU build, satisfies the pin of the plain version.
        here = importlib.metadata.version(name).partition("+")[0]
        if here != wanted:
            sys.exit(f"CondaEnvException: Pip failed: {name}=={wanted} is asked for, {here} is here")


def build(folder: Path) -> None:
    """A virtual environment that sees the packages of the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "linked.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")


if __name__ == "__main__":
    print(conda(Path(sys.argv[1]), sys.argv[2:]))
