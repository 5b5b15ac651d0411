"""The report where people open it: one HTML page, and the page of its run in the MLflow UI."""

import base64
import html
import io
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from training.learning import shrinkage
from training.measuring.errors import CELL_DEG, QUANTITIES
from training.reporting import drivers, figures, labels
from training.reporting.report import Report

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}
.verdict{padding:1em;border-left:5px solid #1f8a5b;background:#f1f8f4}
.bad{border-color:#c8553d;background:#fbf1ee}.wide{overflow-x:auto;font-size:13px}
.wide td{white-space:nowrap}.wide td,.wide th{padding:.3em .5em}
"""


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
    drawn = {name: _png(figure) for name, figure in report.figures().items()}  # drawing takes a second each: once
    drivers.log(report.unseen, run_id)
    with tempfile.TemporaryDirectory() as scratch:
        for name, picture in drawn.items():
            (Path(scratch) / f"{name}.png").write_bytes(picture)
        mlflow.log_artifacts(scratch, "figures", run_id=run_id)
    mlflow.log_text(as_html(report, drawn), "report/report.html", run_id=run_id)
    mlflow.set_tags(
        {
            "verdict": report.verdict.line()[:4900],
            "mlflow.note.content": as_markdown(report),
            "alignment": report.alignment_line,
            "face": report.recordings.face_line,
            "base_knows": report.familiarity.describe(),
        }
    )
    figures.close()


def as_markdown(report: Report) -> str:
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
        f"Linear calibration, {report.calibration_line}",
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


def as_html(report: Report, drawn: dict[str, bytes]) -> str:
    """The report as one self-contained HTML page; ``drawn``: its figures as PNG files."""
    config = report.search.config()
    chosen = (
        f"Chosen: trial-{report.search.best.number:03d}, freeze={config.freeze}, bn={config.bn}, lr={config.lr:.2e}, "
        f"best epoch {report.search.best.user_attrs['result']['best']['number']} of {config.epochs}, "
        f"{len(report.search.ran())} trials run. "
        + "".join(f"{line[0].upper()}{line[1:]}. " for line in filter(None, [shrinkage.describe(report.search.kept())]))
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
    twin = (
        " With final=all the registered model was trained on all samples; what is called fine-tuned here is its twin, "
        "trained in the same way without the held-out ones."
    ) * report.twin
    parts = [
        f"<h1>Gaze fine-tuning: {html.escape(report.title)}</h1>",
        f"<p class='{kind}'>{html.escape(report.verdict.line())}</p>",
        f"<p>{html.escape(report.split.describe())}.{html.escape(twin)} {html.escape(chosen)}"
        f"What the network reads of the driver view: {html.escape(report.recordings.face_line)}.</p>",
        f"<p>{html.escape(report.alignment_line)}. Linear calibration, "
        f"{html.escape(report.calibration_line)}. {html.escape(report.looks_line)}.</p>",
        f"<p>{html.escape(report.familiarity.describe())}.</p>",
        "<p>Degrees. Azimuth: to the driver's right is positive; elevation: up is positive. Brackets and error bars: "
        "95 % intervals of the mean over time blocks (Student's t, each block counts once). <i>cells</i>: mean over "
        f"gaze cells of {CELL_DEG:.0f}°; half of a drive is the road ahead, and there it counts no more than any other "
        "direction.</p>",
    ]
    for name, picture in drawn.items():
        source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        parts.append(f"<h2>{headings[name]}</h2><img alt='{headings[name]}' src='{source}'>")
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


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
