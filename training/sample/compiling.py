"""Compiling the renderer in two processes.

numba compiles one function at a time in a process, whatever threads there are, and the renderer's take 25 s of one slow
core. What a process compiles stays in numba's cache, where others find it.
"""

import multiprocessing

import numpy as np

from recording import angles
from training.sample.recipe import Recipe
from training.sample.rendering import cabin, head, journey, noise, portrait
from training.sample.scene import Outlook, head_pose


def compile_renderer(recipe: Recipe) -> None:
    """Compile what draws this drive, unless numba's cache of an earlier rendering has it; takes some seconds."""
    if not noise.lattice.stats.cache_misses:  # compiled, or found in the cache, when it was imported
        return
    other = multiprocessing.get_context("spawn").Process(target=_surroundings, args=(recipe,), daemon=True)
    other.start()
    try:
        _driver(recipe)
        other.join()  # whatever it could not compile is compiled when the first frame is drawn
    finally:
        other.terminate()


def _driver(recipe: Recipe) -> None:
    track = recipe.track()
    light = journey.Journey(recipe.seed, track.seconds, recipe.light).light(0)
    gaze: np.ndarray = angles.vectors(track.gaze[:1])[0]
    portrait.Studio(head.build(recipe.person()), recipe.camera()).picture(head_pose(track, 0), gaze, light)


def _surroundings(recipe: Recipe) -> None:
    track = recipe.track()
    way = journey.Journey(recipe.seed, track.seconds, recipe.light)
    cabin.relight(cabin.behind(recipe.camera()), way.light(0), way.outside(0), 0.0)
    if not recipe.driver_view:
        Outlook(recipe, track, way).pictures(0)
