"""A prepared folder whose pictures the tiny network can read."""

import json
from pathlib import Path

import cv2
import numpy as np
import packages
import pandas as pd


def make_prepared(folder: Path, *, n: int = 60, seed: int = 0, held_out: bool = True) -> pd.DataFrame:
    """Write ``n`` samples; with ``held_out`` they are the frames of ``packages.make_holdout`` of the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    held = packages.make_holdout(n, seed=seed)
    rows = []
    for frame, jpeg, label in zip(held.frames, held.jpegs, held.labels_deg, strict=True):
        stem = f"frame_{frame:05d}"
        (folder / f"{stem}_driver.jpg").write_bytes(jpeg)
        road = np.full((224, 200, 3), (90, 120, 90), dtype=np.uint8)
        cv2.putText(road, str(frame), (20, 120), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 2)
        cv2.imwrite(str(folder / f"{stem}_road.jpg"), road)
        angles = {"azimuth_deg": float(label[0]), "elevation_deg": float(label[1])}
        (folder / f"{stem}_gt.json").write_text(json.dumps(angles | {"frame": int(frame)}))
        rows.append({"frame": int(frame), "driver": f"{stem}_driver.jpg", "road": f"{stem}_road.jpg"} | angles)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "samples.csv", index=False)
    about = {
        "format": 1,
        "status": "complete",
        "name": "test drive",
        "rendered": False,
        "recording_sha256": packages.DRIVE if held_out else "e" * 64,
        "video": {"fps": 30.0},
    }
    (folder / "drive.json").write_text(json.dumps(about))
    return table
