"""The face detector on real photographs: how often it finds a face, and whether the rectangle holds it.

    python -m benchmarks.face [--data ../shared/real_faces]

Photographs of ten people (Pointing'04) whose heads are turned up to 45° to the side and 30° up and down, each with the
face's rectangle. One person's series stands for a drive. Margin and limits were chosen on persons 1 to 5.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from recording import detection, pictures

TURNED_DEG, TILTED_DEG = 45, 30


def main() -> None:
    """Detect on every photograph, print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.face")
    parser.add_argument("--data", type=Path, default=Path("../shared/real_faces"))
    folder = parser.parse_args().data
    table = pd.read_csv(folder / "labels.csv")
    turned, tilted = table["azimuth [deg]"].abs(), table["elevation [deg]"].abs()
    table = table[(turned <= TURNED_DEG) & (tilted <= TILTED_DEG)].reset_index(drop=True)
    decoded = [pictures.decode((folder / "images" / name).read_bytes(), name) for name in table["image"]]
    began = time.process_time()
    looks = [detection.detect(picture) for picture in decoded]
    seconds = (time.process_time() - began) / len(looks)
    table["found"] = [_on_the_face(boxes, row) for boxes, (_, row) in zip(looks, table.iterrows(), strict=True)]
    table["false"] = [len(boxes) for boxes in looks] - table["found"]
    _print_found(table, seconds)
    print(
        "\n| persons | series with a rectangle | faces held to 95 % | rectangle's side in face widths |\n"
        "|---|---|---|---|"
    )
    for first, last in ((1, 5), (6, 10)):
        _print_held(table[table["person"].between(first, last)], looks, f"{first} to {last}", decoded[0].shape)


def _on_the_face(boxes: detection.Boxes, row: pd.Series) -> bool:
    """Whether one of the boxes has its middle in the measured face and about its size."""
    middle = boxes[:, :2] + boxes[:, 2:] / 2 - [row["face x"], row["face y"]]
    inside = ((middle > 0) & (middle < [row["face w"], row["face h"]])).all(axis=1)
    ratio = boxes[:, 2] / row["face w"]
    return bool((inside & (ratio > 0.5) & (ratio < 2.2)).any())


def _print_found(table: pd.DataFrame, seconds: float) -> None:
    print(
        f"{len(table)} photographs, {1000 * seconds:.0f} ms of one core each, {table['false'].sum()} false detections"
    )
    print("\n| head turned to the side | photographs | face found |\n|---|---|---|")
    for angle, group in table.groupby(table["azimuth [deg]"].abs()):
        print(f"| {angle}° | {len(group)} | {100 * group['found'].mean():.0f} % |")


def _print_held(table: pd.DataFrame, looks: list[detection.Boxes], who: str, shape: tuple[int, ...]) -> None:
    held, sides, found = [], [], 0
    series = list(table.groupby(["person", "series"]))
    for _, one in series:
        face = detection.choose([looks[row] for row in one.index], shape[1], shape[0]).face
        if face is None:
            continue
        left, top, width, height = one[["face x", "face y", "face w", "face h"]].to_numpy(float).T
        across = np.minimum(left + width, face.view.x + face.view.w) - np.maximum(left, face.view.x)
        down = np.minimum(top + height, face.view.y + face.view.h) - np.maximum(top, face.view.y)
        held.append(np.mean(np.maximum(across, 0) * np.maximum(down, 0) / (width * height) > 0.95))
        sides.append(face.view.w / np.median(width))
        found += 1
    print(f"| {who} | {found} of {len(series)} | {100 * np.mean(held):.1f} % | {np.mean(sides):.2f} |")


if __name__ == "__main__":
    main()
