"""When a version is good enough: the one rule of the report's verdict and of the gate.

A version is good enough when, on held-out samples, its 3-D error is *shown* to be smaller than the constant's and
than the best calibration's – the interval of the paired difference over time blocks lies below zero – and neither
single angle is shown to be worse than theirs. An angle in which nothing can be told is said, and passes. Beside that
the split must not leak, there must be enough samples, and each angle has its absolute limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from registry.intervals import Answer, Floats, Integers, Interval, mean_interval

QUANTITIES = ("azimuth", "elevation", "3-D angle")
CONSTANT = "constant"
BASELINES = {
    CONSTANT: "constant",
    "calibrated": "linear calibration",
    "affine": "affine calibration",
}
"""The names of the baselines in files and metrics, and what people call them. All but the constant are calibrations."""


@dataclass(frozen=True)
class Check:
    """One requirement and how it came out."""

    name: str
    found: str
    limit: str
    passed: bool

    def describe(self) -> str:
        """``azimuth error: 5.50° (required: ≤ 5.00°)``."""
        return f"{self.name}: {self.found} (required: {self.limit})"


@dataclass(frozen=True)
class Requirements:
    """The rule's numbers; the gate's configuration holds them, with their reasons."""

    min_samples: int
    azimuth_error_deg: float
    elevation_error_deg: float


@dataclass(frozen=True)
class HeldOutErrors:
    """What the rule looks at: errors on n samples that the model was not trained on, degrees."""

    model: Floats
    """(n, 3) azimuth, elevation and 3-D angle."""
    baselines: Mapping[str, Floats]
    """(n, 3) of each baseline, by the names of :data:`BASELINES`."""
    blocks: Integers
    """(n,) time block of each sample."""
    split: str
    leaking: bool
    left_out: int = 0
    """Held-out samples that do not count, because the model was trained on their neighbours."""

    def __len__(self) -> int:
        return len(self.blocks)


@dataclass(frozen=True)
class Finding:
    """The model against one baseline in one quantity; ``difference`` is model − baseline, negative is better."""

    baseline: str
    quantity: str
    difference: Interval

    @property
    def answer(self) -> Answer:
        """Better, worse, cannot tell, or too short to tell."""
        return self.difference.answer

    def describe(self) -> str:
        """``3-D angle better (-7.82° [-9.90, -5.71])``."""
        return f"{self.quantity} {self.answer} ({self.difference.describe()})"


@dataclass(frozen=True)
class Judgement:
    """What the rule says of one version, and what that rests on."""

    limits: tuple[Check, ...]
    """Split, number of samples, absolute limits."""
    comparisons: tuple[Check, ...] = ()
    """The constant and the best calibration; empty where there are too few samples for any figure."""
    findings: tuple[Finding, ...] = ()
    """What the comparisons rest on."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """All that is required."""
        return self.limits + self.comparisons

    @property
    def good_enough(self) -> bool:
        """True when every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def too_short(self) -> bool:
        """True when the recording has too few time blocks for the findings to say anything."""
        return any(finding.answer is Answer.TOO_SHORT for finding in self.findings)

    def describe(self) -> str:
        """``good enough: …`` with the findings, or ``NOT GOOD ENOUGH: …`` with the checks that failed."""
        if self.good_enough:
            return "good enough: " + "; ".join(f"{check.name}: {check.found}" for check in self.comparisons)
        return "NOT GOOD ENOUGH: " + "; ".join(check.describe() for check in self.checks if not check.passed)


def assess(found: HeldOutErrors, limits: Requirements) -> Judgement:
    """Hold a model against its limits, the constant and the best calibration."""
    held = tuple(limits_held(found, limits))
    if len(found) < limits.min_samples:
        return Judgement(held)  # a mean over a handful of samples would only look like a figure
    calibration = best_calibration(found.baselines)
    if CONSTANT not in found.baselines or calibration is None:
        known = ", ".join(found.baselines) or "none"
        return Judgement(held, (Check("baselines", known, f"the {CONSTANT} and a calibration", False),))
    findings = {name: against(found, name) for name in (CONSTANT, calibration)}
    comparisons = tuple(_beaten(name, against_it) for name, against_it in findings.items())
    return Judgement(held, comparisons, tuple(one for against_it in findings.values() for one in against_it))


def limits_held(found: HeldOutErrors, limits: Requirements) -> list[Check]:
    """The split, the number of samples, and with enough of them each angle's absolute limit."""
    more = f" ({found.left_out} more were trained on)" * bool(found.left_out)
    checks = [
        Check("split", found.split + " (leaking)" * found.leaking, "not leaking", not found.leaking),
        Check("held-out samples", f"{len(found)}{more}", f"≥ {limits.min_samples}", len(found) >= limits.min_samples),
    ]
    if len(found) < limits.min_samples:
        return checks
    for k, limit in enumerate((limits.azimuth_error_deg, limits.elevation_error_deg)):
        mean = float(found.model[:, k].mean())
        checks.append(Check(f"{QUANTITIES[k]} error", f"{mean:.2f}°", f"≤ {limit:.2f}°", mean <= limit))
    return checks


def best_calibration(baselines: Mapping[str, Floats]) -> str | None:
    """The calibration with the smallest mean 3-D error on these samples: the hardest one to beat."""
    calibrations = [name for name in baselines if name != CONSTANT]
    return min(calibrations, key=lambda name: float(baselines[name][:, 2].mean()), default=None)


def against(found: HeldOutErrors, baseline: str) -> list[Finding]:
    """The model against one baseline in azimuth, elevation and 3-D angle, on the same samples."""
    differences = (found.model - found.baselines[baseline]).T
    return [
        Finding(baseline, quantity, mean_interval(difference, found.blocks))
        for quantity, difference in zip(QUANTITIES, differences, strict=True)
    ]


def _beaten(baseline: str, findings: list[Finding]) -> Check:
    azimuth, elevation, angular = findings
    passed = angular.answer is Answer.BETTER and Answer.WORSE not in (azimuth.answer, elevation.answer)
    found = ", ".join(finding.describe() for finding in (angular, azimuth, elevation))
    return Check(
        f"against the {BASELINES.get(baseline, baseline)}", found, "3-D angle better, neither angle worse", passed
    )
