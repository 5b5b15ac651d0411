"""Run the project's commands as a user does: real processes in a folder of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import registries

ROOT = Path(__file__).parents[2]
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Without the tests' own environment: what is not found there must come from conda's."""
SMALL = ["-P", "epochs_min=2", "-P", "epochs_max=4", "-P", "freeze=backbone,layer3"]


@dataclass(frozen=True)
class Place:
    """A working folder with its own tracking database."""

    folder: Path

    def __post_init__(self) -> None:
        # Two processes that meet an empty file would both create the tables; only one of them can.
        if not (self.folder / "mlflow.db").exists():
            registries.lay_out(self.folder, registries.empty_database())

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def env(self) -> dict[str, str]:
        env = os.environ | {
            "MLFLOW_TRACKING_URI": self.uri,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        for variable in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            env.pop(variable, None)
        return env

    def python(self, *arguments: str, timeout: float = 600, status: int | None = 0) -> subprocess.CompletedProcess:
        """``python …`` here; fails the test when the exit status is another one."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout
        )
        assert status is None or done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
        return done

    def start(self, *arguments: str) -> subprocess.Popen:
        """``python …`` in a process group of its own, in the background."""
        with (self.folder / "started.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # A shell starts background jobs with Ctrl-C ignored, and children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def mlflow_run(self, *parameters: str, conda: Path, project: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """``mlflow run . …`` as the README has it, whatever it ends with; ``conda`` is where that is installed."""
        env = self.env | {"PATH": SYSTEM_PATH, "PYTHONPATH": "", "MLFLOW_CONDA_HOME": str(conda)}
        for variable in ("CONDA_EXE", "PYTEST_CURRENT_TEST"):
            env.pop(variable, None)
        command = [sys.executable, "-m", "mlflow", "run", str(project), "--experiment-name", "e2e", *parameters]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=600)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This process is here, for what need not be a process of its own."""
        with pytest.MonkeyPatch.context() as patch, registries.inside(self.folder, patch):
            yield

    def runs(self) -> list[mlflow.entities.Run]:
        """All runs of this place, parents and children."""
        mlflow.set_tracking_uri(self.uri)
        return mlflow.search_runs(search_all_experiments=True, output_format="list")


def parent_of(place: Place) -> mlflow.entities.Run:
    return next(run for run in place.runs() if "verdict" in run.data.tags)


def five_test_images(place: Place) -> tuple[list[Path], pd.DataFrame]:
    run_id = parent_of(place).info.run_id
    text = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/tables/test_predictions.csv")
    table = pd.read_csv(text).iloc[[0, 4, 8, 12, 16]]
    (folder,) = (place.folder / "data" / "prepared").iterdir()
    return [folder / name for name in table["file"]], table
