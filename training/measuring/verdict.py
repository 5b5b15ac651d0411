"""What the errors say, in plain words: is the model good enough to be used, and if not, why not?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from registry import gate, rule
from registry.intervals import MIN_BLOCKS, Floats, Integers
from registry.rule import HeldOutErrors, Judgement
from training.measuring.alignment import MIN_CORRELATION, Alignment
from training.measuring.errors import MeasuredErrors, per_sample
from training.measuring.familiarity import Familiarity

FEW_SAMPLES = 200
CELL_DEG = 3.0
FEW_POSITIONS = 12


@dataclass(frozen=True)
class Verdict:
    """The line that is printed, and what it rests on: the gate's own rule (:mod:`registry.rule`)."""

    judgement: Judgement
    leaking: bool
    causes: tuple[str, ...]

    @property
    def good_enough(self) -> bool:
        """What the gate will say of the version by itself, with the limits of ``registry/gate.yaml``."""
        return self.judgement.good_enough

    def line(self) -> str:
        """One sentence; loud where the model is not worth having."""
        text = self.judgement.describe()
        if not self.good_enough:
            text = f"{text}. Likely causes: {'; '.join(self.causes)}"
        if self.leaking:
            text = f"LEAKING SPLIT, these figures are too good: {text}"
        return text


def reach(
    model_deg: Floats,
    baselines_deg: Mapping[str, Floats],
    labels_deg: Floats,
    block: Integers,
    *,
    split: str,
    leaking: bool,
    causes: tuple[str, ...],
) -> Verdict:
    """Hold the model's (n, 2) answers to the test samples against each baseline's, by the rule of the gate.

    ``causes`` are what may have gone wrong (:func:`likely_causes`); a recording that is too short to tell anything
    comes first.
    """
    baselines = {name: per_sample(answers, labels_deg) for name, answers in baselines_deg.items()}
    errors = HeldOutErrors(per_sample(model_deg, labels_deg), baselines, block, split, leaking)
    judgement = rule.assess(errors, gate.configure().rule())
    if judgement.too_short:
        blocks = len(np.unique(block))
        causes = (f"the recording is too short: it has {blocks} test blocks, and {MIN_BLOCKS} are needed", *causes)
    return Verdict(judgement, leaking, causes)


def likely_causes(
    alignment: Alignment,
    labels_deg: np.ndarray,
    training_samples: int,
    base: MeasuredErrors,
    familiarity: Familiarity,
    more: str,
) -> tuple[str, ...]:
    """Why fine-tuning may have failed, most telling first; never empty.

    ``labels_deg`` (n, 2) are the training labels; ``more``: what would give more samples, in words.
    """
    causes = []
    if alignment.swapped or alignment.azimuth_sign < 0 or alignment.elevation_sign < 0:
        causes.append(f"the labels look flipped or swapped against the base ({alignment.describe()})")
    positions = len(np.unique(np.round(labels_deg / CELL_DEG), axis=0))
    if positions < FEW_POSITIONS:
        causes.append(f"too few distinct gaze positions ({positions} cells of {CELL_DEG:.0f}° in the training labels)")
    if training_samples < FEW_SAMPLES:
        causes.append(f"too few samples ({training_samples} to train on; {more})")
    if all(abs(r) < MIN_CORRELATION for r in alignment.correlation):
        causes.append(
            "the angles may be head-mounted (relative to a scene camera on the head, not to the car), or video and "
            "labels are out of step: the base's answers do not follow the labels at all "
            f"(r = {alignment.correlation[0]:.2f}, {alignment.correlation[1]:.2f})"
        )
    if familiarity.foreign:
        causes.append(
            f"{familiarity.finding} (distance {familiarity.distance:.3f}; it was trained on "
            f"{familiarity.trained_on}): more samples and freeze=none, or another base"
        )
    if not causes:
        causes.append(
            f"the search was too short for this gap (raise trials or epochs_max; more samples: {more}), or the face is "
            "small, dark or turned away in the driver view (look at the samples; the base is "
            f"{base.angular.mean:.1f}° wrong)"
        )
    return tuple(causes)
