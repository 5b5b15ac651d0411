"""A disk that fills while weights are written is one line, and nothing half-written is left under its name."""

import disks
import pytest
import torch

from recording import files
from training.learning import model, progress
from training.reporting import package
from training.searching import trial


@pytest.fixture
def small_disk(tmp_path):
    with disks.small(tmp_path / "disk", "1m") as disk:
        yield disk


WRITERS = [
    lambda path: trial._save(model.build(), path),
    lambda path: progress.save(path, {"weights": torch.zeros(2**20)}),
    lambda path: package.export(model.build(), path.parent),
]


@pytest.mark.parametrize("write", WRITERS)
def test_weights_that_do_not_fit_are_one_line(write, small_disk):
    with pytest.raises(files.DiskFull, match="disk full: cannot write "):
        write(small_disk / "weights")
    assert list(small_disk.iterdir()) == []
