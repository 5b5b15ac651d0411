"""What the baselines of a version are wrong by on its held-out samples: what its verdict was reached against.

The contract states the constant and one calibration; the answers of all of them travel with the samples.
"""

from dataclasses import dataclass, field

from registry import rule
from registry.contract import AngleErrors, VerifiedPackage
from registry.holdout import errors_of


@dataclass(frozen=True)
class BaselineErrors:
    """The mean errors of each baseline, by its name in :data:`registry.rule.BASELINES`; none of versions that were
    registered before the answers were kept, and of a base. ``best``: the calibration that the rule holds a model
    against, "" where there is none."""

    means: dict[str, AngleErrors] = field(default_factory=dict)
    best: str = ""


def of(package: VerifiedPackage) -> BaselineErrors:
    """The errors of the baselines of a verified package."""
    kept = package.holdout()
    errors = {name: errors_of(answers, kept) for name, answers in kept.baselines_deg.items()}
    names = tuple(AngleErrors.model_fields)
    means = {
        name: AngleErrors(**dict(zip(names, found.mean(axis=0).tolist(), strict=True)))
        for name, found in errors.items()
        if len(found)
    }
    return BaselineErrors(means, (rule.best_calibration(errors) or "") if means else "")
