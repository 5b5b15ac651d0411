"""Rendered drives as files, first of all the sample drive: what the main job works on when it is given no recording.

A video (by default a small composite in the DashGaze layout) and the CSV that an eye tracker would have
written, blemishes included, drawn by :mod:`training.sample.rendering` after a :class:`~training.sample.recipe.Recipe`.
The driver is none of the lab people that the base checkpoint was trained on. ``python -m training.sample.sample_drive
--out DIR`` writes the sample drive by hand.
"""

import argparse
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recording.exceptions import InputError
from recording.files import check_ending, check_folder, given_path, write_bytes
from registry.command_line import leave
from training.sample import film, recipe, scene, tracker
from training.sample.compiling import compile_renderer
from training.sample.recipe import SECONDS, Recipe
from training.sample.rendering import sheet
from training.sample.scene import Scene, head_pose
from training.sample.tracker import NAME

BASE_CHECKPOINT = Path(__file__).parent / "assets" / "base-lab-resnet18.safetensors"
MARK = "rendered.json"
_DRAWS = (__file__, recipe.__file__, scene.__file__, tracker.__file__, film.__file__)


def render(folder: Path, seed: int = 0, seconds: float = SECONDS) -> tuple[Path, Path]:
    """The video and the CSV of the sample drive, as :func:`render_recipe` writes them."""
    return render_recipe(folder, Recipe(seed=seed, seconds=seconds))


def render_recipe(folder: Path, chosen: Recipe) -> tuple[Path, Path]:
    """The video and the CSV of a drive, rendered into a sub-folder of ``folder`` named by the recipe's key.

    A drive that is there already is not rendered again. It appears whole or not at all. ``rendered.json`` beside the
    video marks it as rendered and holds the recipe. Raises :class:`InputError` when the folder cannot be written.
    """
    folder = Path(folder)
    mark = {"name": NAME, **asdict(chosen), "code": _code_digest()}
    key = hashlib.sha256(json.dumps(mark, sort_keys=True).encode()).hexdigest()[:16]
    whole = folder / f"sample-drive-{key}"
    if not whole.is_dir():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        except OSError as error:
            raise InputError(f"folder {folder}: cannot be written ({error.strerror}); choose another one") from None
        try:
            _write(partial, chosen, mark)
            _keep(partial, whole)
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # nothing is left of it when it was kept
    return whole / "sample_drive.mp4", whole / "sample_drive.csv"


def _keep(partial: Path, whole: Path) -> None:
    """Give a finished folder its name; whoever was first wins, both rendered the same."""
    try:
        partial.rename(whole)
    except OSError:
        if not whole.is_dir():
            raise


def _code_digest() -> str:
    """sha256 over the code that draws: a changed renderer renders anew."""
    digest = hashlib.sha256()
    for path in (*map(Path, _DRAWS), *sorted((Path(__file__).parent / "rendering").glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(folder: Path, chosen: Recipe, mark: dict[str, Any]) -> None:
    compile_renderer(chosen)
    try:
        film.encode(folder / "sample_drive.mp4", Scene(chosen), NAME)
        (folder / "sample_drive.csv").write_text(tracker.labels_text(chosen), encoding="utf-8")
        (folder / MARK).write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"folder {folder.parent}: cannot be written ({error.strerror}); free some space") from None


def contact_sheet(seed: int = 0) -> np.ndarray:
    """Pictures of the drive with their measured gaze, whole frames and lab faces, (h, w, 3) uint8 RGB."""
    chosen = Recipe(seed=seed)
    drawn = Scene(chosen)
    track = drawn.track
    measured = tracker.measured_angles(track, chosen)
    awake = np.flatnonzero((track.blink < 0) & (track.fixation >= 0))
    # The frames that come nearest to looking at each of these (azimuth, elevation), spread over the drive.
    wanted = [(0, 0), (-28, -7), (23, 8), (21, -16), (0, -14), (33, -6), (-8, 1), (8, -1), (24, 7), (-27, -6)]
    rows = []
    for half in range(2):
        pictures, texts = [], []
        for column, place in enumerate(wanted[5 * half : 5 * half + 5]):
            part = awake[len(awake) * column // 5 : len(awake) * (column + 1) // 5]
            number = int(part[np.argmin(np.linalg.norm(track.gaze[part] - place, axis=1))])
            eyes = head_pose(track, number).place(np.zeros(3))
            pictures.append(sheet.arrow(drawn.driver_view(number), drawn.camera, eyes, track.gaze[number]))
            texts.append(f"azimuth {measured[number, 0]:+z.0f}, elevation {measured[number, 1]:+z.0f}")
        rows.append(sheet.row(pictures, texts))
    tunnel = int(np.argmax(drawn.journey.exposure)) + 4
    frames = [int(0.12 * len(drawn)), min(tunnel, len(drawn) - 1)]
    rows.append(sheet.row([drawn.frame(n) for n in frames], [f"{track.seconds[n]:.0f} s" for n in frames]))
    rows += [sheet.lab_row(range(10)), sheet.lab_row(range(10, 20))]
    return np.vstack(rows)


def main(argv: list[str] | None = None) -> int:
    """``python -m training.sample.sample_drive --out DIR``."""
    parser = argparse.ArgumentParser(prog="python -m training.sample.sample_drive", description=f"Write the {NAME}.")
    parser.add_argument("--out", type=given_path, default=Path("data"), help="folder to render into (data)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long the drive is ({SECONDS:.0f})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the gaze track and of the journey (0)")
    parser.add_argument("--sheet", type=given_path, help="write the contact sheet to this PNG instead")
    arguments = parser.parse_args(argv)
    if arguments.sheet:
        check_ending(f"--sheet {arguments.sheet}", arguments.sheet, [".png"])
        check_folder(f"--sheet {arguments.sheet}", arguments.sheet)
        drawn = cv2.imencode(".png", contact_sheet(arguments.seed)[..., ::-1])[1].tobytes()
        arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(arguments.sheet, drawn)
        return 0
    video, labels = render(arguments.out, arguments.seed, arguments.seconds)
    print(f"{NAME}: {video} {labels}")
    return 0


if __name__ == "__main__":
    leave(main)
