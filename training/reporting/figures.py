"""The pictures of a report. Every function returns a matplotlib figure; nothing is shown or written."""

import matplotlib

matplotlib.use("Agg")

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import TABLEAU_COLORS
from matplotlib.figure import Figure
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from recording.angles import absolute_errors
from recording.arrows import Arrow, Point, draw
from registry.intervals import Floats
from registry.rule import BASELINES
from training.learning.model import FREEZE_CHOICES
from training.measuring.errors import QUANTITIES, MeasuredErrors

Picture = NDArray[np.uint8]
COLOURS = {"base": "#9a9a9a", "constant": "#d8a23a", "calibrated": "#4f86c6", "affine": "#8e6bbf", "model": "#1f8a5b"}
TITLES = {"base": "base (before)"} | BASELINES | {"model": "fine-tuned"}
_PALETTE = ("#8e6bbf", "#4f86c6", "#1f8a5b", "#d8a23a", "#c8553d", *TABLEAU_COLORS.values())
FREEZE_COLOURS = dict(zip(FREEZE_CHOICES, _PALETTE, strict=False))  # a further choice takes the next colour
ANGLES = ("azimuth", "elevation")
plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110})


def close() -> None:
    """Free the memory of all figures that were drawn."""
    plt.close("all")


def before_after(errors: dict[str, MeasuredErrors], caption: str) -> Figure:
    """Mean errors of all models side by side, per angle, with their 95 % intervals."""
    figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
    width = 0.8 / len(errors)
    for position, (name, measured) in enumerate(errors.items()):
        summaries = [measured.summary(quantity) for quantity in QUANTITIES]
        means = np.array([summary.mean for summary in summaries])
        at = np.arange(3) + (position - (len(errors) - 1) / 2) * width
        axis.bar(at, means, width * 0.92, color=COLOURS[name], label=TITLES[name])
        for x, one in zip(at, summaries, strict=True):
            top = one.mean
            if one.low is not None and one.high is not None:  # else no error bar rather than one that looks certain
                spread = [[one.mean - one.low], [one.high - one.mean]]
                axis.errorbar(x, one.mean, spread, fmt="none", ecolor="black", lw=1.2, capsize=3)
                top = one.high
            label = f"{one.mean:.1f}°"
            axis.annotate(label, (x, top), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9)
    axis.set_xticks(range(3), ["azimuth", "elevation", "3-D angle"])
    axis.set_ylabel("mean error on the held-out blocks (degrees)")
    axis.legend(frameon=False, ncols=len(errors), loc="upper center", bbox_to_anchor=(0.5, -0.08))  # clear of the bars
    axis.set_title(caption, fontsize=10, loc="left")
    return figure


def predicted_vs_true(answers: dict[str, Floats], labels_deg: Floats) -> Figure:
    """Answers against labels, one column per model, one row per angle; a constant is a horizontal line."""
    figure, axes = plt.subplots(2, len(answers), figsize=(3.1 * len(answers), 6), layout="constrained", squeeze=False)
    for column, (name, predicted) in enumerate(answers.items()):
        for k, angle in enumerate(ANGLES):
            axis = axes[k, column]
            both = np.concatenate([labels_deg[:, k], predicted[:, k]])
            ends = [both.min() - 2, both.max() + 2]
            axis.plot(ends, ends, color="#bbbbbb", lw=1, zorder=0)
            axis.scatter(labels_deg[:, k], predicted[:, k], s=9, alpha=0.6, color=COLOURS[name], linewidths=0)
            axis.set(xlabel=f"measured {angle} (°)", ylabel=f"predicted {angle} (°)" if column == 0 else "")
        axes[0, column].set_title(TITLES[name], fontsize=11)
    return figure


def error_by_angle(answers: dict[str, Floats], labels_deg: Floats) -> Figure:
    """Mean absolute error against the measured angle, in quantile bins: where a model is good."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for k, (angle, axis) in enumerate(zip(ANGLES, axes, strict=True)):
        edges = np.unique(np.quantile(labels_deg[:, k], np.linspace(0, 1, 9)))
        bins = np.clip(np.digitize(labels_deg[:, k], edges[1:-1]), 0, max(0, len(edges) - 2))
        for name, predicted in answers.items():
            errors = absolute_errors(predicted, labels_deg)[:, k]
            used = np.unique(bins)
            centre = [labels_deg[bins == one, k].mean() for one in used]
            axis.plot(
                centre,
                [errors[bins == one].mean() for one in used],
                "o-",
                color=COLOURS[name],
                ms=4,
                label=TITLES[name],
            )
        axis.set(xlabel=f"measured {angle} (°)", ylabel=f"mean {angle} error (°)", ylim=(0, None))
    axes[1].legend(frameon=False)
    return figure


def trials(all_trials: list[FrozenTrial], best_number: int) -> Figure:
    """Validation error over epochs of every trial, and the best error against the learning rate."""
    figure, (curves, dots) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for one in all_trials:
        if not one.intermediate_values or "config" not in one.user_attrs:
            continue
        config = one.user_attrs["config"]
        colour, chosen = FREEZE_COLOURS[config["freeze"]], one.number == best_number
        epochs, values = zip(*sorted(one.intermediate_values.items()), strict=True)
        style = "-" if config["bn"] == "target" else "--"
        curves.plot(epochs, values, style, color=colour, lw=2.6 if chosen else 1.2, alpha=1 if chosen else 0.7)
        dots.scatter(
            config["lr"], min(values), color=colour, s=110 if chosen else 36, marker="*" if chosen else "o", zorder=3
        )
        dots.annotate(
            f"{one.number}", (config["lr"], min(values)), xytext=(5, 3), textcoords="offset points", fontsize=8
        )
    for name, colour in FREEZE_COLOURS.items():
        if any(one.user_attrs.get("config", {}).get("freeze") == name for one in all_trials):
            dots.scatter([], [], color=colour, label=f"freeze={name}")
    curves.set(
        xlabel="epoch", ylabel="validation 3-D error (°)", title="solid: bn=target, dashed: bn=source; thick: chosen"
    )
    dots.set(
        xlabel="learning rate",
        ylabel="best validation 3-D error (°)",
        xscale="log",
        title="numbers: trials; star: chosen",
    )
    for axis in (curves, dots):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}°")
        axis.yaxis.set_minor_formatter(lambda value, _: f"{value:g}°" if value in (2, 3, 5, 7, 15, 20) else "")
    dots.legend(frameon=False, fontsize=8)
    return figure


def scenario_sheet(
    pictures: list[Picture], eyes: list[Point], measured_deg: Floats, predicted_deg: Floats, titles: list[str]
) -> Figure:
    """Driver pictures with the measured (green) and the predicted (red) gaze arrow, from the ``eyes``: where they are
    in each, as shares of its width and height."""
    columns = 5
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.5 * columns, 2.9 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, begin, measured, predicted, title in zip(
        axes.flat, pictures, eyes, measured_deg, predicted_deg, titles, strict=False
    ):
        size = 380, round(380 * picture.shape[0] / picture.shape[1])
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        drawn = [
            Arrow(float(measured[0]), float(measured[1]), (60, 220, 90), "measured"),
            Arrow(float(predicted[0]), float(predicted[1]), (240, 60, 60), "predicted"),
        ]
        axis.imshow(draw(small, drawn, eyes=begin, legend=False))
        axis.set_title(title, fontsize=9)
    figure.suptitle("green: measured, red: fine-tuned model", fontsize=10)
    return figure
