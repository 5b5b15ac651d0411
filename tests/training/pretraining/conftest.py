"""Three rendered people, written in both layouts once."""

from collections.abc import Sequence
from pathlib import Path

import mpiifacegaze
import pytest
from mpiifacegaze import Scene


@pytest.fixture(scope="session")
def people() -> dict[str, Sequence[Scene]]:
    """Five scenes each of three people."""
    return {f"p{number:02d}": mpiifacegaze.scenes(60 + number, 5) for number in range(3)}


@pytest.fixture(scope="session")
def original(people: dict[str, Sequence[Scene]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As recorded; not to be changed."""
    return mpiifacegaze.write_original(tmp_path_factory.mktemp("original"), people)


@pytest.fixture(scope="session")
def normalised(people: dict[str, Sequence[Scene]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The normalised files; not to be changed."""
    return mpiifacegaze.write_normalised(tmp_path_factory.mktemp("normalised"), people)
