"""A folder of prepared samples as the app reads it: pictures of driver and road, and the measured angles."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recording.exceptions import InputError
from registry.holdout import SCENARIOS, Holdout

_HOW = "make one with: python -m training prepare --video drive.mp4 --labels sensors.csv --out FOLDER"


@dataclass(frozen=True)
class Prepared:
    """The samples of one drive in the order of their frames."""

    folder: Path
    table: pd.DataFrame
    """Columns ``frame``, ``driver``, ``road`` (file names, ``""`` for none), ``azimuth_deg``, ``elevation_deg``,
    and ``scenario`` (1 to 10: the tenth of the drive, from the first to the last frame)."""
    name: str
    drive: str
    """sha256 of the recording, ``""`` where the folder does not say."""
    fps: float
    rendered: bool
    digest: str
    """Changes when the table does."""

    @property
    def measured_deg(self) -> np.ndarray:
        """(n, 2) measured azimuth and elevation, degrees."""
        return self.table[["azimuth_deg", "elevation_deg"]].to_numpy(dtype=np.float64)

    def driver_file(self, row: int) -> Path:
        """The driver picture of a row."""
        return self._inside(self.table["driver"].iat[row])

    def road_file(self, row: int) -> Path | None:
        """The road picture of a row, ``None`` where there is none."""
        name = self.table["road"].iat[row]
        return self._inside(name) if name else None

    def _inside(self, name: str) -> Path:
        path = self.folder / name
        if path.resolve().parent != self.folder.resolve():
            raise InputError(f"{self.folder}: samples.csv names {name!r}, which is not in the folder")
        return path


def read(folder: Path) -> Prepared:
    """The samples in ``folder``, prepared or bare (``*_driver.jpg`` with ``*_gt.json``).

    Raises :class:`InputError` that says what is missing and which command makes it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {_HOW}")
    about: dict = {}
    if (folder / "drive.json").is_file():
        about, table = _read_prepared(folder)
    else:
        table = _read_bare(folder)
    table = table.dropna(subset=["azimuth_deg", "elevation_deg"]).sort_values("frame", ignore_index=True)
    if table.empty:
        raise InputError(f"{folder}: no samples found (looked for samples.csv and *_driver.jpg with *_gt.json); {_HOW}")
    table["scenario"] = scenarios(table["frame"].to_numpy())
    return Prepared(
        folder=folder,
        table=table,
        name=str(about.get("name") or folder.name),
        drive=str(about.get("recording_sha256") or ""),
        fps=float((about.get("video") or {}).get("fps") or 30.0),
        rendered=bool(about.get("rendered")),
        digest=hashlib.sha256(table.to_csv(index=False).encode()).hexdigest(),
    )


def scenarios(frames: np.ndarray) -> np.ndarray:
    """(n,) frame numbers → (n,) scenario 1 to 10: equal parts of the time from the first to the last frame."""
    frames = np.asarray(frames, dtype=np.int64)
    span = max(int(frames.max() - frames.min()), 1)
    return np.minimum((frames - frames.min()) * SCENARIOS // span, SCENARIOS - 1) + 1


def parts(prepared: Prepared, holdout: Holdout | None) -> np.ndarray:
    """(n,) what each sample was to a model: ``held out``, ``trained on`` (or validated), ``neither``.

    ``neither`` are samples of another drive, or between the parts.
    """
    frames = prepared.table["frame"].to_numpy()
    known = np.full(len(frames), "neither", dtype=object)
    if holdout is not None and prepared.drive and holdout.drive == prepared.drive:
        known[np.isin(frames, holdout.trained_frames)] = "trained on"
        known[np.isin(frames, holdout.frames)] = "held out"
    return known


def representative(prepared: Prepared, part: np.ndarray, scenario: int) -> int:
    """The row that stands for a scenario: its middle held-out sample, its middle sample where none is held out."""
    inside = np.flatnonzero(prepared.table["scenario"].to_numpy() == scenario)
    if not len(inside):
        # A drive with gaps: the nearest sample in time.
        return int(np.abs(prepared.table["scenario"].to_numpy() - scenario).argmin())
    held_out = inside[part[inside] == "held out"]
    chosen = held_out if len(held_out) else inside
    return int(chosen[len(chosen) // 2])


def _read_prepared(folder: Path) -> tuple[dict, pd.DataFrame]:
    try:
        about = json.loads((folder / "drive.json").read_text(encoding="utf-8"))
        if about.get("status") != "complete":
            raise InputError(f"{folder}: its preparation was interrupted; run the same prepare command again")
        table = pd.read_csv(folder / "samples.csv", dtype={"driver": str, "road": str})
        if "road" not in table:
            table["road"] = ""
        table["road"] = table["road"].fillna("")
        return about, table[["frame", "driver", "road", "azimuth_deg", "elevation_deg"]].copy()
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{folder}: cannot be read as prepared samples ({error}); {_HOW}") from error


def _read_bare(folder: Path) -> pd.DataFrame:
    rows = []
    for position, driver in enumerate(sorted(folder.glob("*_driver.jpg"))):
        stem = driver.name.removesuffix("_driver.jpg")
        try:
            truth = json.loads((folder / f"{stem}_gt.json").read_text(encoding="utf-8"))
            angles = {key: float(truth[key]) for key in ("azimuth_deg", "elevation_deg")}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a sample without its truth has nothing to compare with
        numbered = re.search(r"(\d+)$", stem)
        road = folder / f"{stem}_road.jpg"
        rows.append(
            {
                "frame": int(numbered.group(1)) if numbered else position,
                "driver": driver.name,
                "road": road.name if road.is_file() else "",
            }
            | angles
        )
    return pd.DataFrame(rows, columns=["frame", "driver", "road", "azimuth_deg", "elevation_deg"])
