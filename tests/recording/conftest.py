"""A short recording with the usual blemishes in its labels, and the folder prepared from it, which tests only read."""

from pathlib import Path

import pytest

from recording import preparation
from recording.drive import Source
from tests import recordings


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """600 frames and their labels: five more rows that are dropped, each for another reason."""
    folder = tmp_path_factory.mktemp("drive")
    fast = {"preset": "ultrafast"}
    video = recordings.video(folder / "v.mp4", 600, recordings.COMPOSITE, options=fast)
    again = ",".join(map(str, recordings.angles(3)))
    more = ["1,abc,1,2,True,", "1,7,,2,True,", "broken", "1,900,1,2,True,", f"1,3,{again},True,"]
    return video, recordings.labels(folder / "l.csv", range(600), more)


@pytest.fixture(scope="module")
def ready(drive: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 samples of it, prepared."""
    return preparation.prepare(Source(*drive), 40, tmp_path_factory.mktemp("ready") / "out")
