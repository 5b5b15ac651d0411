"""The report of a curve on its parent run: the table of the sizes, the figure, and what may be said of more data."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from registry.rule import BASELINES
from training.measuring.errors import QUANTITIES, MeasuredErrors
from training.measuring.learning_curve import FARTHEST, Forecast, Outlook
from training.reporting import figures

_DRAWN = 80  # points of the drawn curve


@dataclass(frozen=True)
class SizeErrors:
    """Errors at one size, the mean over its trainings."""

    size: int
    trained_on: int
    trainings: int
    errors: MeasuredErrors
    minutes: float
    """Of one training."""


@dataclass(frozen=True)
class CurveReport:
    """Everything that a curve showed."""

    title: str
    before: dict[str, MeasuredErrors]
    """The base as it is, the constant and the best calibration, all on the same test samples."""
    sizes: tuple[SizeErrors, ...]
    forecast: Forecast
    sentences: tuple[str, ...]
    configuration: str
    target_deg: float

    def table(self) -> pd.DataFrame:
        """One row a baseline and a size: per angle mean and interval, degrees; minutes of one training."""
        rows = [self._row(figures.TITLES[name], errors) for name, errors in self.before.items()]
        for one in self.sizes:
            times = "once" if one.trainings == 1 else f"{one.trainings} times"
            row = self._row(f"{one.size:,} samples ({one.trained_on:,} trained on, {times})", one.errors)
            rows.append(row | {"minutes": f"{one.minutes:.1f}" if one.minutes >= 0.05 else "< 0.1"})
        return pd.DataFrame(rows)

    @staticmethod
    def _row(title: str, errors: MeasuredErrors) -> dict[str, str]:
        said = [errors.summary(quantity).describe() for quantity in QUANTITIES]
        return {"": title} | dict(zip(("azimuth", "elevation", "3-D angle"), said, strict=True)) | {"minutes": "–"}

    def printed(self) -> str:
        """The table and the sentences as text for a terminal."""
        table = self.table()
        lines = [self.title, "".join(f"{column:>22s}" if column else f"{'':44s}" for column in table.columns)]
        lines += [f"{row[0]:44s}" + "".join(f"{cell:>22s}" for cell in row[1:]) for row in table.to_numpy()]
        return "\n".join([*lines, "", *self.sentences])

    def description(self) -> str:
        """Markdown for the run's page in the MLflow UI."""
        table = self.table()
        rows = [f"| {' | '.join(row)} |" for row in table.to_numpy()]
        heading = [f"| {' | '.join(table.columns)} |", "|" + "---|" * len(table.columns)]
        said = [f"**{sentence}**" for sentence in self.sentences]
        return "\n\n".join([*said, self.title, "\n".join(heading + rows), self.configuration])


def log(report: CurveReport) -> None:
    """Tables, figure, metrics and tags on the active run."""
    for name, errors in report.before.items():
        mlflow.log_metrics(errors.metrics(name))
    for one in report.sizes:
        mlflow.log_metrics(one.errors.metrics("curve") | {"curve/minutes": one.minutes}, step=one.size)
    mlflow.log_metrics({f"forecast/{name}": value for name, value in _figures(report.forecast).items()})
    mlflow.log_table(report.table().rename(columns={"": "trained on"}), "tables/learning_curve.json")
    mlflow.log_figure(figure(report), "figures/learning_curve.png")
    mlflow.log_text(report.printed() + "\n", "report/learning_curve.txt")
    tags = {"outlook": str(report.forecast.outlook), "forecast": " ".join(report.sentences)[:4900]}
    mlflow.set_tags(tags | {"mlflow.note.content": report.description()})
    figures.close()


def _figures(forecast: Forecast) -> dict[str, float]:
    """What of the forecast deserves to be a metric: nothing where it cannot be told."""
    if forecast.outlook == Outlook.CANNOT_TELL:
        return {}
    twice, curve = forecast.at(2 * forecast.largest), forecast.curve
    return {
        "twice_angular_error_deg": twice.value,
        "twice_angular_error_deg_low": twice.low,
        "twice_angular_error_deg_high": twice.high,
        "floor_deg": float(curve.floor_deg[0]),
        "rate": float(curve.rate[0]),
    }


def figure(report: CurveReport) -> Figure:
    """Every training as a dot, the means, and the fitted curve with its interval as far as it can be trusted."""
    forecast, measured = report.forecast, report.forecast.measured
    drawn, axis = plt.subplots(figsize=(9, 4.8), layout="constrained")
    shares = measured.weights / measured.weights.sum()
    trained = [(size, error) for k, size in enumerate(measured.sizes) for error in measured.errors_deg[k] @ shares]
    axis.plot(*zip(*trained, strict=True), "o", color=figures.COLOURS["model"], ms=4, alpha=0.5, label="one training")
    _means(axis, report)
    ends = [float(measured.means.max()), float(measured.means.min())]
    if forecast.outlook == Outlook.CANNOT_TELL:
        axis.plot(measured.sizes, measured.means, ":", color=figures.COLOURS["model"], lw=1)
    else:
        sizes = np.geomspace(measured.sizes[0], FARTHEST * forecast.largest, _DRAWN)
        band = [forecast.at(size) for size in sizes]
        axis.fill_between(
            sizes, [one.low for one in band], [one.high for one in band],
            color=figures.COLOURS["model"], alpha=0.15, lw=0, label="95 % interval of the next training",
        )  # fmt: skip
        axis.plot(
            sizes, [one.value for one in band], "-", color=figures.COLOURS["model"], label="power law with a floor"
        )
        axis.axvspan(forecast.largest, sizes[-1], color="#000000", alpha=0.04, lw=0)
        ends += [max(one.high for one in band), min(one.low for one in band)]
    _levels(axis, report, ends)
    axis.set_xscale("log")
    ticks = [int(size) for size in measured.sizes]
    axis.set_xticks(ticks + ([2 * ticks[-1], 4 * ticks[-1]] if forecast.outlook != Outlook.CANNOT_TELL else []))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.minorticks_off()
    axis.set(xlabel="samples", ylabel="3-D error on the held-out blocks (degrees)", ylim=(0, None))
    axis.set_title(
        f"{report.title}\n{report.sentences[0].split('. ')[0].rstrip('.')}", fontsize=9, loc="left", wrap=True
    )
    axis.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))  # clear of lines
    return drawn


def _means(axis: Axes, report: CurveReport) -> None:
    for one in report.sizes:
        summary = one.errors.angular
        if summary.low is not None and summary.high is not None:
            spread = [[summary.mean - summary.low], [summary.high - summary.mean]]
            axis.errorbar(one.size, summary.mean, spread, fmt="none", ecolor="#444444", lw=1, capsize=3)
    sizes, means = [one.size for one in report.sizes], [one.errors.angular.mean for one in report.sizes]
    label = "mean of the trainings, 95 % interval over time blocks"
    axis.plot(sizes, means, "D", color=figures.COLOURS["model"], ms=6, label=label, ls="none")


def _levels(axis: Axes, report: CurveReport, ends: list[float]) -> None:
    """Baselines as lines, those that would flatten the curve left to the table; the target where one was asked for."""
    for name, errors in report.before.items():
        level = errors.angular.mean
        if level < 2.5 * max(ends):
            axis.axhline(level, color=figures.COLOURS[name], lw=1.2, ls="--", label=figures.TITLES[name])
    if report.target_deg:
        axis.axhline(report.target_deg, color="#c8553d", lw=1, ls=":", label=f"asked for: {report.target_deg:g}°")


def baselines(errors: dict[str, MeasuredErrors]) -> dict[str, MeasuredErrors]:
    """Of the base and all baselines the rows of the table: base, constant, and the calibration with the least error."""
    calibrations = [name for name in BASELINES if name != "constant" and name in errors]
    best = min(calibrations, key=lambda name: errors[name].angular.mean)
    return {name: errors[name] for name in ("base", "constant", best)}
