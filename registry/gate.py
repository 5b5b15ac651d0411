"""The promotion gate: may this version replace the one in the stage?

Limits are in ``gate.yaml`` beside this file, with their reasons. The gate trusts no figure it can compute: the
challenger's errors are measured again on its held-out samples, and the champion answers the same samples. Samples
that one of the two was trained on, or near copies of them, are taken out first.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from recording.exceptions import ContractError, InputError, RegistryError
from registry import comparison
from registry.comparison import Package
from registry.holdout import Holdout
from registry.versions import Version

DEFAULTS = Path(__file__).with_name("gate.yaml")
_ANGLES = ("azimuth_error_deg", "elevation_error_deg", "angular_error_deg")


class _Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Absolute(_Limits):
    """Mean absolute error per angle, degrees, at most."""

    azimuth_error_deg: FiniteFloat = Field(gt=0)
    elevation_error_deg: FiniteFloat = Field(gt=0)


class HeldOut(_Limits):
    """How many clean samples there must be, and how well the contract's errors must come out again."""

    min_samples: int = Field(ge=1)
    reproduced_within_deg: FiniteFloat = Field(gt=0)


class Baselines(_Limits):
    """How much worse than constant or calibration a single angle may be, degrees."""

    angle_slack_deg: FiniteFloat = Field(ge=0)


class Champion(_Limits):
    """How much worse than the champion the mean 3-D error may be, degrees."""

    margin_deg: FiniteFloat = Field(ge=0)


class Scenarios(_Limits):
    """How much worse than the champion a single scenario may be, and from how many samples on it is judged."""

    worsening_deg: FiniteFloat = Field(ge=0)
    min_samples: int = Field(ge=1)


class Configuration(_Limits):
    """The gate's limits; see ``gate.yaml``."""

    stages: list[Literal["Staging", "Production"]]
    absolute: Absolute
    held_out: HeldOut
    baselines: Baselines
    champion: Champion
    scenarios: Scenarios


@dataclass(frozen=True)
class Check:
    """One line of the outcome."""

    name: str
    found: str
    limit: str
    passed: bool


@dataclass(frozen=True)
class Outcome:
    """All checks of one challenger against one champion (``None``: the stage is empty)."""

    challenger: int
    champion: int | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """True when every check passed."""
        return all(check.passed for check in self.checks)

    def failures(self) -> str:
        """The checks that failed, on one line."""
        return "; ".join(f"{c.name} {c.found}, allowed {c.limit}" for c in self.checks if not c.passed)

    def to_json(self) -> list[dict]:
        """For the history."""
        return [{"check": c.name, "found": c.found, "limit": c.limit, "passed": c.passed} for c in self.checks]


def configure(path: Path | None = None) -> Configuration:
    """The limits of ``gate.yaml``, replaced by those of the file ``path``; :class:`InputError` names a wrong one."""
    limits = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    if path is not None:
        limits = _replaced(limits, _read(path), path)
    try:
        return Configuration.model_validate(limits)
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise InputError(f"gate {path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def _read(path: Path) -> dict:
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"gate {path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"gate {path}: not YAML ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(found, dict):
        raise InputError(f"gate {path}: holds a {type(found).__name__}, not sections like those of {DEFAULTS.name}")
    return found


def _replaced(limits: dict, changes: dict, path: Path) -> dict:
    unknown = sorted(set(changes) - set(limits))
    if unknown:
        raise InputError(f"gate {path}: {', '.join(unknown)} is unknown; sections are {', '.join(limits)}")
    merged = dict(limits)
    for section, values in changes.items():
        both = isinstance(values, dict) and isinstance(limits[section], dict)
        merged[section] = limits[section] | values if both else values
    return merged


def judge(challenger: Version, champion: Version | None, configuration: Configuration, scratch: Path) -> Outcome:
    """Hold ``challenger`` against the limits and against ``champion``; fetches both into ``scratch``.

    A challenger that breaks its contract raises :class:`ContractError`: that is no matter of opinion. A champion
    that cannot be opened is a failed check: without it nothing can be compared.
    """
    new = comparison.open_package(challenger, scratch)
    checks = on_its_own(new, configuration)
    if champion is None or champion.number == challenger.number:
        return Outcome(challenger.number, None, tuple(checks))
    try:
        old = comparison.open_package(champion, scratch)
    except (ContractError, RegistryError) as error:
        checks.append(Check("champion opens", " ".join(str(error).split())[:300], "intact files", False))
    else:
        checks += against(new, old, configuration)
    return Outcome(challenger.number, champion.number, tuple(checks))


def on_its_own(new: Package, limits: Configuration) -> list[Check]:
    """Split, held-out samples, stated errors, absolute limits and baselines."""
    stated = new.contract.errors
    seen = comparison.trained_on(new.holdout, new)
    clean = comparison.subset(new.holdout, ~seen)
    enough = len(clean) >= limits.held_out.min_samples
    checks = [
        Check("split", f"{stated.split}{' (leaking)' * stated.leaking}", "not leaking", not stated.leaking),
        Check(
            "held-out samples",
            f"{len(clean)}" + f" ({int(seen.sum())} more were trained on)" * bool(seen.any()),
            f"≥ {limits.held_out.min_samples}",
            enough,
        ),
    ]
    measured = comparison.errors(new.network, new.holdout)
    checks.append(_reproduced(measured.mean(axis=0), stated, limits))
    if not enough:
        return checks  # a mean over a handful of samples would only look like a figure
    found = dict(zip(_ANGLES, measured[~seen].mean(axis=0), strict=True))
    for name, limit in limits.absolute.model_dump().items():
        checks.append(Check(_plain(name), f"{found[name]:.2f}°", f"≤ {limit:.2f}°", bool(found[name] <= limit)))
    for baseline in ("constant", "calibrated"):
        checks.append(_beats(baseline, getattr(stated, baseline), found, limits.baselines.angle_slack_deg))
    return checks


def _reproduced(measured: np.ndarray, stated, limits: Configuration) -> Check:
    off = max(abs(value - getattr(stated.model, name)) for name, value in zip(_ANGLES, measured, strict=True))
    within = limits.held_out.reproduced_within_deg
    return Check("stated errors come out again", f"off by {off:.2f}°", f"≤ {within:.2f}°", bool(off <= within))


def _beats(baseline: str, errors, found: dict[str, float], slack: float) -> Check:
    name = {"constant": "beats the constant", "calibrated": "beats the linear calibration"}[baseline]
    if errors is None:
        return Check(name, "not in the contract", "stated", False)
    limits = {angle: getattr(errors, angle) + (slack if angle != _ANGLES[2] else 0.0) for angle in _ANGLES}
    passed = all(found[angle] < limits[angle] for angle in _ANGLES)
    return Check(
        name,
        " / ".join(f"{found[angle]:.2f}" for angle in _ANGLES) + "°",
        "< " + " / ".join(f"{limits[angle]:.2f}" for angle in _ANGLES) + "° (az / el / 3-D)",
        bool(passed),
    )


def against(new: Package, old: Package, limits: Configuration) -> list[Check]:
    """Challenger and champion on the same samples, that neither was trained on.

    Samples are the challenger's held-out ones. Where the champion comes from another drive its own held-out
    samples are compared as well: a challenger at home on the new drive must not win by that alone.
    """
    checks = _on_samples(new, old, new.holdout, "the challenger's", limits, required=True)
    if old.holdout.drive != new.holdout.drive:
        checks += _on_samples(new, old, old.holdout, "the champion's", limits, required=False)
    return checks


def _on_samples(
    new: Package, old: Package, samples: Holdout, whose: str, limits: Configuration, required: bool
) -> list[Check]:
    compared = comparison.compare(old, new, samples)
    name = f"against champion {old.label}, {whose} samples"
    enough = len(compared) >= limits.held_out.min_samples
    found = f"{len(compared)} that neither was trained on" + f" ({compared.left_out} left out)" * bool(
        compared.left_out
    )
    if not enough:
        # The champion's drive may be part of what the challenger was trained on: then there is nothing to compare.
        return [Check(f"{name}: comparable", found, f"≥ {limits.held_out.min_samples}", not required)]
    change = compared.difference()[2]
    margin = limits.champion.margin_deg
    worst = _worst_scenario(compared, limits.scenarios.min_samples)
    checks = [
        Check(f"{name}: comparable", found, f"≥ {limits.held_out.min_samples}", True),
        Check(
            f"{name}: 3-D error",
            change.describe(),
            f"≤ {margin:+.2f}°",
            bool(change.mean <= margin),
        ),
    ]
    if worst is not None:
        number, change = worst
        allowed = limits.scenarios.worsening_deg
        checks.append(
            Check(
                f"{name}: worst scenario ({number})", f"{change:+.2f}°", f"≤ {allowed:+.2f}°", bool(change <= allowed)
            )
        )
    return checks


def _worst_scenario(compared: comparison.Comparison, min_samples: int) -> tuple[int, float] | None:
    changes = [(row[0], row[3] - row[2]) for row in compared.by_scenario() if row[1] >= min_samples]
    return max(changes, key=lambda change: change[1], default=None)


def _plain(name: str) -> str:
    return name.removesuffix("_deg").replace("_", " ")
