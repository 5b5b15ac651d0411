"""How a base does on people that it was not trained on: the table of persons and its figure."""

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from recording import angles
from registry.intervals import Floats, mean_interval
from training.measuring.errors import QUANTITIES, per_sample
from training.reporting.figures import COLOURS  # importing it also sets the look of all figures

EVERYBODY = "all persons"


@dataclass(frozen=True, eq=False)
class Judged:
    """The answers to one held-out person's faces, radians."""

    answers: Floats
    """(n, 2)."""
    gaze: Floats
    """(n, 2)."""
    constant: Floats
    """(2,) the mean gaze of those that were trained on: the answer of somebody who does not look."""

    def errors(self) -> Floats:
        """(n, 3) azimuth, elevation and 3-D, degrees."""
        return _errors(self.answers, self.gaze)

    def constant_errors(self) -> Floats:
        """(n, 3) the same of the constant."""
        return _errors(np.broadcast_to(self.constant, self.gaze.shape), self.gaze)


def _errors(answers: Floats, gaze: Floats) -> Floats:
    return per_sample(angles.pitch_yaw_to_deg(answers), angles.pitch_yaw_to_deg(gaze))


def per_person(judged: Mapping[str, Judged]) -> pd.DataFrame:
    """A row for each held-out person and one for all, in which each person counts once; errors in degrees."""
    rows = [
        {"person": name, "faces": len(one.gaze)}
        | dict(zip((f"{quantity}_error_deg" for quantity in QUANTITIES), one.errors().mean(axis=0), strict=True))
        | {"constant_angular_error_deg": one.constant_errors()[:, 2].mean()}
        for name, one in judged.items()
    ]
    table = pd.DataFrame(rows)
    mean = table.drop(columns=["person", "faces"]).mean()
    return pd.concat(
        [table, pd.DataFrame([{"person": EVERYBODY, "faces": table["faces"].sum(), **mean}])], ignore_index=True
    )


def describe(table: pd.DataFrame) -> str:
    """The table as text, and with five persons or more the interval of the 3-D error over persons."""
    lines = ["person          faces   azimuth  elevation  3-D angle   constant (3-D)"]
    for row in table.to_dict("records"):
        lines.append(
            f"{row['person']:<13} {row['faces']:>7} {row['azimuth_error_deg']:>8.2f}° "
            f"{row['elevation_error_deg']:>9.2f}° "
            f"{row['angular_error_deg']:>9.2f}° {row['constant_angular_error_deg']:>15.2f}°"
        )
    each = table["angular_error_deg"].to_numpy(dtype=np.float64)[:-1]
    interval = mean_interval(each, np.arange(len(each)))
    if interval.is_told:
        lines.append(f"another person: 3-D error {interval.mean:.2f}° [{interval.low:.2f}–{interval.high:.2f}]")
    return "\n".join(lines)


def figure(table: pd.DataFrame, caption: str) -> Figure:
    """Errors of each person side by side with those of the constant."""
    drawn, axis = plt.subplots(figsize=(max(5.0, 0.7 * len(table) + 2), 4.0), layout="constrained")
    at = np.arange(len(table))
    axis.bar(at - 0.2, table["angular_error_deg"], 0.38, color=COLOURS["model"], label="the base")
    axis.bar(at + 0.2, table["constant_angular_error_deg"], 0.38, color=COLOURS["constant"], label="a constant")
    for x, value in zip(at, table["angular_error_deg"], strict=True):
        axis.text(x - 0.2, value, f"{value:.1f}°", ha="center", va="bottom", fontsize=8)
    axis.set_xticks(at, [name.replace(" ", "\n") for name in table["person"]])
    axis.set_ylabel("mean 3-D error, not trained on (degrees)")
    axis.set_title(caption, fontsize=10, loc="left")
    axis.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return drawn
