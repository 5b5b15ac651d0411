"""The report on the parent run: tables, figures, one HTML page, and the verdict in plain words."""

import base64
import html
import io
from dataclasses import dataclass

import cv2
import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

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

    @property
    def labels_deg(self) -> Floats:
        """(n_test, 2) measured angles, degrees."""
        return np.asarray(self.recordings.labels_deg[self.split.test])

    @property
    def looks_line(self) -> str:
        """How often the test blocks were read: each look makes it likelier that one version is good by chance."""
        if not self.tested_before:
            return "No version of this model was tested on these blocks before"
        numbers = ", ".join(map(str, self.tested_before))
        return (
            f"These test blocks were read for {len(self.tested_before)} versions before ({numbers}): the best of many "
            "is good by chance as well, a recording of another day says more"
        )

    @property
    def title(self) -> str:
        """What was measured on what; names the rendered sample drive wherever it is used."""
        source = RENDERED if self.recordings.rendered else "recording"
        leaking = ", LEAKING random split" if self.split.leaking else ""
        return f"{source}, {len(self.split.test)} held-out samples (split={self.split.name}{leaking})"

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
        pictures = [driver_picture(self.recordings, int(self.split.test[at])) for at in chosen]
        return figures.scenario_sheet(pictures, self.labels_deg[chosen], self.answers["model"][chosen], titles)


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
    return f"azimuth {low[0]:+.0f}…{high[0]:+.0f}°, elevation {low[1]:+.0f}…{high[1]:+.0f}°"


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


def log(report: Report, run_id: str) -> None:
    """Put the whole report on the run: metrics, tables, figures, ``report/report.html``, the description."""
    metrics: dict[str, float] = {}
    for name, errors in report.errors.items():
        metrics |= errors.metrics("test" if name == "model" else name)
    metrics |= {"test/samples": len(report.split.test), "base/feature_distance": report.familiarity.distance}
    mlflow.log_metrics(metrics, run_id=run_id)
    mlflow.log_table(report.side_by_side(), "tables/before_after.json", run_id=run_id)
    mlflow.log_table(report.scenarios(), "tables/scenarios.json", run_id=run_id)
    mlflow.log_table(report.predictions(), "tables/test_predictions.json", run_id=run_id)
    mlflow.log_text(report.predictions().to_csv(index=False), "tables/test_predictions.csv", run_id=run_id)
    drawn = report.figures()
    drivers.log(report.unseen, run_id)
    for name, figure in drawn.items():
        mlflow.log_figure(figure, f"figures/{name}.png")
    mlflow.log_text(page(report, drawn), "report/report.html", run_id=run_id)
    mlflow.set_tags(
        {
            "verdict": report.verdict.line()[:4900],
            "mlflow.note.content": description(report),
            "alignment": report.alignment_line,
            "face": report.recordings.face_line,
            "base_knows": report.familiarity.describe(),
        }
    )
    figures.close()


def description(report: Report) -> str:
    """Markdown for the run's page in the MLflow UI."""
    lines = [
        f"**{report.verdict.line()}**",
        "",
        report.title,
        "",
        "| model | azimuth | elevation | 3-D angle |",
        "|---|---|---|---|",
    ]
    for name, errors in report.errors.items():
        cells = [errors.summary(quantity).describe() for quantity in QUANTITIES]
        lines.append(f"| {figures.TITLES[name]} | {' | '.join(cells)} |")
    lines += [
        "",
        report.alignment_line,
        "",
        f"Linear calibration: {report.calibration_line}",
        "",
        f"Read of the driver view: {report.recordings.face_line}",
        "",
        f"{report.familiarity.describe()}.",
        "",
        f"{report.looks_line}.",
        "",
        *(line for one in (report.unseen.lines() if report.unseen else ()) for line in (one, "")),
        *(line for one in report.labels for line in (one.line(), "")),
        "Figures and tables: artifacts, `report/report.html`.",
    ]
    return "\n".join(lines)


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}
.verdict{padding:1em;border-left:5px solid #1f8a5b;background:#f1f8f4}
.bad{border-color:#c8553d;background:#fbf1ee}.wide{overflow-x:auto;font-size:13px}
.wide td{white-space:nowrap}.wide td,.wide th{padding:.3em .5em}
"""


def page(report: Report, drawn: dict[str, Figure]) -> str:
    """The report as one self-contained HTML page."""
    config = report.search.config()
    chosen = (
        f"Chosen: trial-{report.search.best.number:03d}, freeze={config.freeze}, bn={config.bn}, lr={config.lr:.2e}, "
        f"best epoch {report.search.best.user_attrs['result']['best']['number']} of {config.epochs}, "
        f"{len(report.search.ran())} trials run."
    )
    headings = {
        "before_after": "Side by side on the held-out blocks",
        "scenarios": "Ten scenarios, one held-out picture each",
        "predicted_vs_true": "Predicted against measured",
        "error_by_angle": "Error by angle",
        "trials": "The search",
        "labels": "The labels",
        "drivers": "Drivers that the model has not seen",
    }
    kind = "verdict" if report.verdict.good_enough else "verdict bad"
    parts = [
        f"<h1>Gaze fine-tuning: {html.escape(report.title)}</h1>",
        f"<p class='{kind}'>{html.escape(report.verdict.line())}</p>",
        f"<p>{html.escape(report.split.describe())}. {html.escape(chosen)} What the network reads of the driver view: "
        f"{html.escape(report.recordings.face_line)}.</p>",
        f"<p>{html.escape(report.alignment_line)}. Linear calibration, fitted on the training samples: "
        f"{html.escape(report.calibration_line)}. {html.escape(report.looks_line)}.</p>",
        f"<p>{html.escape(report.familiarity.describe())}.</p>",
        "<p>Degrees. Azimuth: to the driver's right is positive; elevation: up is positive. Brackets and error bars: "
        "95 % intervals of the mean over time blocks (Student's t, each block counts once). <i>cells</i>: mean over "
        f"gaze cells of {CELL_DEG:.0f}°; half of a drive is the road ahead, and there it counts no more than any other "
        "direction.</p>",
    ]
    for name, figure in drawn.items():
        parts.append(
            f"<h2>{headings[name]}</h2><img alt='{headings[name]}' src='data:image/png;base64,{_png(figure)}'>"
        )
        if name == "before_after":
            parts.append(_errors_table(report))
        if name == "scenarios":
            parts.append(_scenarios_table(report))
        parts.append(drivers.section(report.unseen) if name == "drivers" and report.unseen else "")
        if name == "labels":
            parts.append(labels.section(report.labels))
    return f"<!doctype html><meta charset='utf-8'><title>Gaze report</title><style>{_STYLE}</style>" + "\n".join(parts)


def _errors_table(report: Report) -> str:
    """Mean and interval of each angle; of the other figures all angles in one cell, so that it fits the page."""
    rows = []
    for name, errors in report.errors.items():
        summaries = [errors.summary(quantity) for quantity in QUANTITIES]
        means = dict(zip(("azimuth", "elevation", "3-D angle"), (one.describe() for one in summaries), strict=True))
        others = {
            "median": _angles(*(one.median for one in summaries)),
            "95th percentile": _angles(*(one.p95 for one in summaries)),
            f"{CELL_DEG:.0f}° cells": _angles(*(one.cells for one in summaries)),
        }
        rows.append({"": figures.TITLES[name]} | means | others)
    return _html(pd.DataFrame(rows))


def _scenarios_table(report: Report) -> str:
    """Of each scenario the mean errors of model and baselines."""
    table = report.scenarios()
    shown = table[["scenario", "samples", "frames", "gaze"]].copy()
    for name in report.answers:
        columns = [f"{name}_{quantity}_error_deg" for quantity in QUANTITIES]
        shown[figures.TITLES[name]] = [_angles(*row) for row in table.reindex(columns=columns).to_numpy(float)]
    return _html(shown)


def _angles(*degrees: float) -> str:
    return " / ".join("–" if np.isnan(value) else f"{value:.1f}" for value in degrees)


def _html(table: pd.DataFrame) -> str:
    told = "<p>Of three figures in a cell: azimuth / elevation / 3-D angle.</p>"
    return f"<div class='wide'>{table.to_html(index=False, border=0)}</div>{told}"


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
