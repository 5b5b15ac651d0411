"""One real run for all journeys: a stranger's recording and checkpoint, trained in conda's environment and promoted."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import drives
import pytest
import torch
from e2e import browser, standin_conda
from e2e.commands import SMALL, Place

from registry import cli
from training.learning import model

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def journey(tmp_path_factory) -> Place:
    place = Place(tmp_path_factory.mktemp("journey"))
    video, labels = drives.recording(place.folder / "recording", seconds=70, fps=5, share=0.6)
    torch.manual_seed(5)
    torch.save(model.build().state_dict(), place.folder / "gaze_tracker_endterm.pth")
    standin_conda.install(place.folder / "conda")
    done = place.mlflow_run(
        *("-P", "samples=150", "-P", f"video={video}", "-P", f"labels={labels}", "-P", f"work={place.folder / 'data'}"),
        *("-P", f"base={place.folder / 'gaze_tracker_endterm.pth'}", "-P", "trials=3", "-P", "study=journey"),
        *SMALL,
        conda=place.folder / "conda",
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (place.folder / "out.txt").write_text(done.stdout + done.stderr)
    return place


@pytest.fixture(scope="session")
def promoted(journey) -> Place:
    # A few epochs on a few frames need not pass the gate; here it is the way from there to an answer.
    with journey.inside():
        promote = ["promote", "--version", "1", "--stage", "Production", "--force", "--why", "journey"]
        assert cli.main(promote) == 0
    return journey


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """One browser for the pages of a module."""
    with browser.started() as started:
        yield started


@pytest.fixture(scope="module")
def own_registry(promoted, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The journey's registry copied, for a module that changes who is in Production; the artifacts are shared."""
    folder = tmp_path_factory.mktemp("registry")
    shutil.copyfile(promoted.folder / "mlflow.db", folder / "mlflow.db")
    return Place(folder)
