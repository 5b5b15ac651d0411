"""What the errors say, in plain words: does the model beat the constant and the linear calibration?"""

from dataclasses import dataclass

import numpy as np

from registry.intervals import mean_interval
from training.measuring.alignment import MIN_CORRELATION, Alignment
from training.measuring.errors import MeasuredErrors, per_sample

FEW_SAMPLES = 200
CELL_DEG = 3.0
FEW_POSITIONS = 12


@dataclass(frozen=True)
class Comparison:
    """One angle of the model against one baseline on the same samples; the interval is of the paired difference."""

    angle: str
    baseline: str
    model_deg: float
    baseline_deg: float
    gain_low_deg: float
    gain_high_deg: float

    @property
    def better(self) -> bool:
        """The model is better beyond what the choice of time blocks can explain."""
        return self.gain_low_deg > 0

    @property
    def worse(self) -> bool:
        return self.gain_high_deg < 0

    def describe(self) -> str:
        ratio = self.baseline_deg / max(self.model_deg, 1e-9)
        if self.better:
            return f"beats the {self.baseline} by {ratio:.1f}× in {self.angle}"
        if self.worse:
            figures = f"{self.model_deg:.1f}° against {self.baseline_deg:.1f}°"
            return f"is WORSE than the {self.baseline} in {self.angle} ({figures})"
        return f"is no better than the {self.baseline} in {self.angle}"


@dataclass(frozen=True)
class Verdict:
    """The line that is printed, and what it rests on."""

    comparisons: tuple[Comparison, ...]
    leaking: bool
    causes: tuple[str, ...]

    @property
    def beats_all(self) -> bool:
        return all(comparison.better for comparison in self.comparisons)

    def line(self) -> str:
        """One sentence; loud where the model is not worth having."""
        calibration = [c for c in self.comparisons if c.baseline == "linear calibration"]
        constant = [c for c in self.comparisons if c.baseline == "constant" and not c.better]
        parts = [c.describe() for c in calibration] + [c.describe() for c in constant]
        text = "the fine-tuned model " + "; ".join(parts)
        if not self.beats_all:
            text = f"NOT GOOD ENOUGH: {text}. Likely causes: {'; '.join(self.causes)}"
        if self.leaking:
            text = f"LEAKING SPLIT, these figures are too good: {text}"
        return text


def judge(
    model_deg: np.ndarray,
    baselines_deg: dict[str, np.ndarray],
    labels_deg: np.ndarray,
    block: np.ndarray,
    *,
    leaking: bool,
    causes: tuple[str, ...],
) -> Verdict:
    """Compare the model's (n, 2) answers with each baseline's on the same test samples, per angle."""
    comparisons = []
    ours = per_sample(model_deg, labels_deg)
    for name, answers in baselines_deg.items():
        theirs = per_sample(answers, labels_deg)
        gains = [mean_interval((theirs - ours)[:, k], block) for k in range(2)]
        for k, angle in enumerate(("azimuth", "elevation")):
            comparisons.append(
                Comparison(
                    angle, name, float(ours[:, k].mean()), float(theirs[:, k].mean()), gains[k].low, gains[k].high
                )
            )
    return Verdict(tuple(comparisons), leaking, causes)


def likely_causes(
    alignment: Alignment, labels_deg: np.ndarray, training_samples: int, base: MeasuredErrors
) -> tuple[str, ...]:
    """Why fine-tuning may have failed, most telling first; never empty.

    ``labels_deg`` (n, 2) are the training labels.
    """
    causes = []
    if alignment.swapped or alignment.azimuth_sign < 0 or alignment.elevation_sign < 0:
        causes.append(f"the labels look flipped or swapped against the base ({alignment.describe()})")
    positions = len(np.unique(np.round(labels_deg / CELL_DEG), axis=0))
    if positions < FEW_POSITIONS:
        causes.append(f"too few distinct gaze positions ({positions} cells of {CELL_DEG:.0f}° in the training labels)")
    if training_samples < FEW_SAMPLES:
        causes.append(f"too few samples ({training_samples} to train on; try samples=1000)")
    if all(abs(r) < MIN_CORRELATION for r in alignment.correlation):
        causes.append(
            "the angles may be head-mounted (relative to a scene camera on the head, not to the car), or video and "
            "labels are out of step: the base's answers do not follow the labels at all "
            f"(r = {alignment.correlation[0]:.2f}, {alignment.correlation[1]:.2f})"
        )
    if not causes:
        causes.append(
            "the search was too short for this gap (raise trials, epochs_max or samples), or the face is small, dark "
            f"or turned away in the driver view (look at the samples; the base is {base.angular.mean:.1f}° wrong)"
        )
    return tuple(causes)
