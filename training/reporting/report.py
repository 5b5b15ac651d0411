"""What the report says: tables and figures over the test samples of one search."""

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from recording import arrows
from recording.preprocess import decode
from recording.recordings import Recordings
from recording.scenarios import COUNT
from registry.intervals import Floats, Integers
from training.measuring.drivers import ByDriver
from training.measuring.errors import CELL_DEG, QUANTITIES, MeasuredErrors, measure
from training.measuring.familiarity import Familiarity
from training.measuring.splits import Split
from training.measuring.verdict import Verdict
from training.reporting import drivers, figures, labels
from training.reporting.figures import Picture
from training.reporting.labels import DriveLabels
from training.searching.study import SearchResult

RENDERED = "rendered sample drive"
SHEET_WIDTH = 380
FACE_COLOUR = (240, 240, 240)


@dataclass(frozen=True)
class Report:
    """Everything on the test samples of one search. ``answers`` are (n_test, 2) degrees by model name."""

    recordings: Recordings
    split: Split
    answers: dict[str, Floats]
    errors: dict[str, MeasuredErrors]
    verdict: Verdict
    alignment_line: str
    calibration_line: str
    search: SearchResult
    familiarity: Familiarity
    """The base, and how far the drive is from what it was trained on."""
    tested_before: tuple[int, ...] = ()
    """Versions of this model whose errors were measured on the same test blocks before."""
    labels: tuple[DriveLabels, ...] = ()
    """What was found about the labels of each drive that was trained on."""
    unseen: ByDriver | None = None
    """The error on an unseen driver, where whole drivers are held out."""
    twin: bool = False
    """Whether the fine-tuned answers are a twin's: the registered model was trained on these samples too."""

    @property
    def labels_deg(self) -> Floats:
        """(n_test, 2) measured angles, degrees."""
        return np.asarray(self.recordings.labels_deg[self.split.test])

    @property
    def looks_line(self) -> str:
        """How often the test blocks were read: each look makes it likelier that one version is good by chance."""
        if not self.tested_before:
            return "No version of this model was tested on these blocks before"
        numbers, many = ", ".join(map(str, self.tested_before)), len(self.tested_before)
        return (
            f"These test blocks were read for {many} earlier version{'s' * (many != 1)} too ({numbers}): the best of "
            "many is good by chance as well, a recording of another day says more"
        )

    @property
    def title(self) -> str:
        """What was measured on what; names the rendered sample drive wherever it is used."""
        source = RENDERED if self.recordings.rendered else "recording"
        leaking = ", LEAKING random split" if self.split.leaking else ""
        twin = "; fine-tuned: its twin (final=all)" * self.twin
        return f"{source}, {len(self.split.test)} held-out samples (split={self.split.name}{leaking}){twin}"

    def side_by_side(self) -> pd.DataFrame:
        """One row a model: per angle mean error, interval, median, 95th percentile, mean over gaze cells, degrees."""
        rows = []
        for name, errors in self.errors.items():
            row: dict[str, object] = {"model": figures.TITLES[name]}
            for quantity in QUANTITIES:
                summary = errors.summary(quantity)
                row |= {
                    f"{quantity}_mean_deg": round(summary.mean, 2),
                    f"{quantity}_interval_deg": summary.interval(),
                    f"{quantity}_median_deg": round(summary.median, 2),
                    f"{quantity}_p95_deg": round(summary.p95, 2),
                    f"{quantity}_cells_deg": round(summary.cells, 2),
                }
            rows.append(row)
        return pd.DataFrame(rows)

    def printed(self) -> str:
        """The side-by-side table as text for a terminal."""
        lines = [self.title, *side_by_side(self.errors)]
        lines.append(
            f"mean over gaze cells of {CELL_DEG:.0f}° (the road ahead counts no more than any other direction)"
        )
        for name, errors in self.errors.items():
            means = (errors.summary(quantity).cells for quantity in QUANTITIES)
            lines.append(_line(figures.TITLES[name], [f"{mean:.2f}°" for mean in means]))
        lines += ["", drivers.printed(self.unseen)] if self.unseen else []
        return "\n".join(lines)

    def scenarios(self) -> pd.DataFrame:
        """One row a tenth of the drive: its held-out samples and each model's mean errors, degrees."""
        return scenario_table(self.recordings, self.split.test, self.split.scenario[self.split.test], self.answers)

    def predictions(self) -> pd.DataFrame:
        """One row a test sample: file, measured angles, every model's answers."""
        table = pd.DataFrame(
            {
                "file": [self.recordings.name(index) for index in self.split.test],
                "frame": self.recordings.frames[self.split.test],
                "scenario": self.split.scenario[self.split.test],
                "measured_azimuth_deg": self.labels_deg[:, 0],
                "measured_elevation_deg": self.labels_deg[:, 1],
            }
        )
        for name, answers in self.answers.items():
            table[f"{name}_azimuth_deg"] = answers[:, 0]
            table[f"{name}_elevation_deg"] = answers[:, 1]
        return table.round(4)

    def figures(self) -> dict[str, Figure]:
        """By file name."""
        return {
            "before_after": figures.before_after(self.errors, self.title),
            "scenarios": self._scenario_sheet(),
            "predicted_vs_true": figures.predicted_vs_true(self.answers, self.labels_deg),
            "error_by_angle": figures.error_by_angle(self.answers, self.labels_deg),
            "trials": figures.trials(self.search.trials, self.search.best.number),
            **({"drivers": drivers.figure(self.unseen)} if self.unseen else {}),
            **({"labels": labels.figure(self.labels)} if self.labels else {}),
        }

    def _scenario_sheet(self) -> Figure:
        scenario = self.split.scenario[self.split.test]
        chosen = [np.flatnonzero(scenario == k)[(scenario == k).sum() // 2] for k in np.unique(scenario)]
        table = self.scenarios().set_index("scenario")
        errors = table[["model_azimuth_error_deg", "model_elevation_error_deg"]]
        titles = [f"{k}: az {errors.loc[k].iloc[0]:.1f}°, el {errors.loc[k].iloc[1]:.1f}°" for k in np.unique(scenario)]
        shown = [int(index) for index in self.split.test[chosen]]
        pictures = [driver_picture(self.recordings, index) for index in shown]
        eyes = [arrows.origin(self.recordings.faces[int(self.recordings.drive_index[index])]) for index in shown]
        return figures.scenario_sheet(pictures, eyes, self.labels_deg[chosen], self.answers["model"][chosen], titles)


def side_by_side(errors: dict[str, MeasuredErrors]) -> list[str]:
    """Who errs how much, as lines for a terminal: mean and interval per angle, one row a model or baseline."""
    rows = [
        _line(figures.TITLES[who], [measured.summary(quantity).describe() for quantity in QUANTITIES])
        for who, measured in errors.items()
    ]
    return [_line("", ["azimuth", "elevation", "3-D angle"]), *rows]


def _line(title: str, cells: list[str]) -> str:
    # A cell such as "21.51° [19.97–23.14]" has 20 characters: it must not touch its neighbour.
    return f"{title:20s}" + "".join(f"{cell:>23s}" for cell in cells)


def scenario_table(
    recordings: Recordings,
    indices: Integers,
    scenario: Integers,
    answers: dict[str, Floats],
    count: int = COUNT,
) -> pd.DataFrame:
    """Mean errors by scenario (1…count) of the samples ``indices``; a scenario without samples says so."""
    measured, frames = recordings.labels_deg[indices], recordings.frames[indices]
    rows = []
    for k in range(1, count + 1):
        inside = scenario == k
        row: dict[str, object] = {"scenario": k, "samples": int(inside.sum())}
        if inside.any():
            row["frames"] = f"{frames[inside].min()}–{frames[inside].max()}"
            row["gaze"] = _gaze_range(measured[inside])
            for name, predicted in answers.items():
                errors = measure(predicted[inside], measured[inside], np.zeros(inside.sum()))
                row |= {f"{name}_{key}": round(value, 2) for key, value in errors.means().items()}
        else:
            row |= {"frames": "", "gaze": "no held-out samples"}
        rows.append(row)
    return pd.DataFrame(rows)


def _gaze_range(labels: Floats) -> str:
    low, high = labels.min(axis=0), labels.max(axis=0)
    return f"azimuth {low[0]:+z.0f}…{high[0]:+z.0f}°, elevation {low[1]:+z.0f}…{high[1]:+z.0f}°"


def driver_picture(recordings: Recordings, index: int) -> Picture:
    """The driver view of a sample, small enough for a contact sheet, with the face rectangle drawn in."""
    path = recordings.driver_path(index)
    picture = decode(path.read_bytes(), str(path))
    height = round(SHEET_WIDTH * picture.shape[0] / picture.shape[1])
    small = np.asarray(cv2.resize(picture, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
    face = recordings.faces[int(recordings.drive_index[index])]
    if face is not None:
        view = face.within(SHEET_WIDTH, height)
        cv2.rectangle(small, (view.x, view.y, view.w, view.h), FACE_COLOUR)
    return small
