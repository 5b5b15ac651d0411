"""Two processes compile the renderer: what a drive needs is in numba's cache, each function compiled once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import json
import multiprocessing
from types import SimpleNamespace

from numba.core.dispatcher import Dispatcher

from training.sample import compiling
from training.sample.recipe import Recipe
from training.sample.rendering import cabin, eyes, head, noise, portrait, raster, road
from training.sample.scene import Scene

ROOMS = (cabin, eyes, head, noise, portrait, raster, road)


def compiled():
    functions = [f for room in ROOMS for f in vars(room).values() if isinstance(f, Dispatcher)]
    return {f.py_func.__name__ for f in functions if f.stats.cache_misses}


class Counted:
    started = 0

    def __init__(self, **given):
        Counted.started += 1
        self.process = multiprocessing.get_context("spawn").Process(**given)

    def __getattr__(self, name):
        return getattr(self.process, name)


def main():
    compiling.multiprocessing = SimpleNamespace(get_context=lambda _: SimpleNamespace(Process=Counted))
    recipe = Recipe(seconds=2.0)
    compiling.compile_renderer(recipe)
    before = compiled()
    Scene(recipe).frame(0)
    print(json.dumps([sorted(before), sorted(compiled() - before), Counted.started]))


if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def started_twice(tmp_path_factory) -> list[tuple[list[str], list[str], int]]:
    """What a process compiled before the first frame and for it, and how many others it started: with an empty cache
    and with what that left."""
    folder = tmp_path_factory.mktemp("compiling")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    found = []
    for _ in range(2):
        done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout))
    return found


def test_the_road_and_the_cabin_are_compiled_by_the_other_process(started_twice):
    (here, for_the_frame, others), _ = started_twice
    assert others == 1
    assert "_shade" in here
    assert not {"_ray", "_panorama", "_march", "_relight"} & set(here)
    assert for_the_frame == []  # both together compile all that a frame needs


def test_nothing_is_compiled_where_the_cache_has_it(started_twice):
    assert started_twice[1] == [[], [], 0]
