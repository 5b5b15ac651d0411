"""The report's page about the labels: what was left out and why, and whether they are in step with the video."""

import html
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recording.label_frame import LabelFrame
from training.measuring.synchrony import Synchrony

COLOURS = {"blinks": "#c8553d", "eyes": "#1f8a5b", "answers": "#8e6bbf", "base": "#9a9a9a"}
MEANINGS = {
    "blinks": "blinks of the CSV, lids in the picture",
    "eyes": "jumps of the labels, changes in the picture",
    "answers": "labels, a head on the base's features",
    "base": "labels, the base's own answers",
}


@dataclass(frozen=True)
class DriveLabels:
    """What was found about the labels of one drive.

    ``dropped``: how many rows of the CSV were usable, then reason → rows left out; empty where that is not known.
    ``frame``: what its angles count from. ``differs``: how they relate to the base's, where that is otherwise than on
    the other drives.
    """

    name: str
    dropped: dict[str, int]
    fps: float
    synchrony: Synchrony
    differs: str = ""
    frame: LabelFrame = field(default_factory=LabelFrame)

    @property
    def is_loud(self) -> bool:
        """Whether something is wrong, or means something else than usual."""
        return self.synchrony.out_of_step or self.frame.is_loud or bool(self.differs)

    def line(self) -> str:
        """One sentence."""
        said = f"{self.name}: {self.synchrony.line()}; {self.frame.line()}"
        return f"{said}; THIS DRIVE'S ANGLES ARE NOT THOSE OF THE OTHERS: {self.differs}" if self.differs else said

    def metrics(self) -> dict[str, float]:
        """The offset and its interval, where signs agree on them."""
        found = self.synchrony
        if not found.agreed:
            return {}
        return {
            "offset_frames": found.offset,
            "offset_frames_low": found.low,
            "offset_frames_high": found.high,
            "drift_frames": found.drift,
        }


def section(drives: tuple[DriveLabels, ...]) -> str:
    """The text of the page: a line and the counts for each drive."""
    parts = []
    for one in drives:
        parts.append(f"<p class='verdict{' bad' if one.is_loud else ''}'>{html.escape(one.line())}</p>")
        if one.dropped:
            rows = "".join(
                f"<tr><td>{html.escape(why)}</td><td>{count:,}</td></tr>" for why, count in one.dropped.items()
            )
            parts.append(f"<table><tr><th>rows of the CSV</th><th>{html.escape(one.name)}</th></tr>{rows}</table>")
    return "".join(parts)


def figure(drives: tuple[DriveLabels, ...]) -> Figure:
    """Of each drive the signs' curves over offsets, and the offset along the drive."""
    drawn, axes = plt.subplots(len(drives), 2, figsize=(11, 3.4 * len(drives)), layout="constrained", squeeze=False)
    for (curves, places), one in zip(axes, drives, strict=True):
        _curves(curves, one)
        _places(places, one)
    return drawn


def _curves(axis: Axes, one: DriveLabels) -> None:
    found = one.synchrony
    for sign in found.signs:
        label = MEANINGS[sign.name] + ("" if sign.is_clear else " (cannot tell)")
        height = np.asarray(sign.values) / max(float(np.max(sign.values)), 1e-9)
        axis.plot(
            sign.offsets, height, color=COLOURS[sign.name], lw=1.8, alpha=1 if sign.is_clear else 0.35, label=label
        )
    axis.axvline(0, color="#bbbbbb", lw=1, zorder=0)
    if found.agreed:
        axis.axvspan(found.low, found.high, color="#d8a23a", alpha=0.35, lw=0)
    axis.set(xlabel="labels shifted by (frames)", ylabel="agreement (of its highest)", ylim=(-0.6, 1.1))
    axis.set_title(f"{one.name}: how well labels and pictures agree", fontsize=10, loc="left", parse_math=False)
    if found.signs:
        axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def _places(axis: Axes, one: DriveLabels) -> None:
    found = one.synchrony
    axis.axhline(0, color="#bbbbbb", lw=1, zorder=0)
    if found.agreed:
        axis.axhspan(found.low, found.high, color="#d8a23a", alpha=0.35, lw=0)
    if found.places:
        axis.plot(*np.array(found.places).T, "o", color=COLOURS["eyes"])
    for second, _, _ in found.steps:
        axis.axvline(second, color="#c8553d", lw=1.2, ls="--")
    around = [abs(value) for _, value in found.places] + [abs(found.low), abs(found.high)]
    axis.set(
        xlabel="along the drive (s)",
        ylabel="labels late by (frames)",
        ylim=(-max(3.0, *around) - 2, max(3.0, *around) + 2),
    )
    axis.set_title("offset by parts of the drive; band: 95 % interval of the whole", fontsize=10, loc="left")
