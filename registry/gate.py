"""The promotion gate: may this version replace the one in the stage?

Limits are in ``gate.yaml`` beside this file, with their reasons. The gate trusts no figure it can compute: the
challenger's errors are measured again on its held-out samples and held against the rule by which the report gave its
verdict (:mod:`registry.rule`); then the champion, and the best version that the stage held before, answer the same
samples. Samples that one of the two was trained on, or near copies of them, are taken out first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from recording.exceptions import ContractError, InputError, RegistryError
from registry import comparison, contract, rule, versions, worst
from registry.comparison import Package
from registry.figures import RECORDING, stated, tested_on
from registry.holdout import Holdout, errors_of
from registry.intervals import MIN_BLOCKS, Floats
from registry.rule import BASELINES, Check
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


class BaselineLimits(_Limits):
    """Of a version that was registered without its baselines: how much worse than theirs one angle's mean may be."""

    angle_slack_deg: FiniteFloat = Field(ge=0)


class Champion(_Limits):
    """How much worse than the champion the mean 3-D error may at most be, degrees: the interval's upper end."""

    margin_deg: FiniteFloat = Field(ge=0)


class Scenarios(_Limits):
    """How much worse than the champion a single scenario may be, and from how many samples on it is judged."""

    worsening_deg: FiniteFloat = Field(ge=0)
    min_samples: int = Field(ge=1)


class Drivers(_Limits):
    """How much worse than the champion a single driver may be, degrees of 3-D error."""

    worsening_deg: FiniteFloat = Field(ge=0)


class Configuration(_Limits):
    """The gate's limits; see ``gate.yaml``."""

    stages: list[Literal["Staging", "Production"]]
    absolute: Absolute
    held_out: HeldOut
    baselines: BaselineLimits
    champion: Champion
    scenarios: Scenarios
    drivers: Drivers

    def rule(self) -> rule.Requirements:
        """The numbers of the rule that report and gate share."""
        return rule.Requirements(self.held_out.min_samples, **self.absolute.model_dump())


@dataclass(frozen=True)
class Decision:
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
        return "; ".join(check.describe() for check in self.checks if not check.passed)

    @property
    def champion_opens(self) -> bool:
        """False where the champion's files are missing or damaged, so that nothing could be compared with it."""
        opened = _opens(f"champion v{self.champion}")
        return all(check.passed for check in self.checks if check.name == opened)

    def to_json(self) -> list[dict[str, Any]]:
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


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"gate {path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"gate {path}: not YAML ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(found, dict):
        raise InputError(f"gate {path}: holds a {type(found).__name__}, not sections like those of {DEFAULTS.name}")
    return found


def _replaced(limits: dict[str, Any], changes: dict[str, Any], path: Path) -> dict[str, Any]:
    unknown = sorted(set(changes) - set(limits))
    if unknown:
        raise InputError(f"gate {path}: {', '.join(unknown)} is unknown; sections are {', '.join(limits)}")
    merged = dict(limits)
    for section, values in changes.items():
        both = isinstance(values, dict) and isinstance(limits[section], dict)
        merged[section] = limits[section] | values if both else values
    return merged


def judge(
    challenger: Version,
    champion: Version | None,
    configuration: Configuration,
    scratch: Path,
    former: Sequence[Version] = (),
) -> Decision:
    """Hold ``challenger`` against the rule, ``champion`` and the best of ``former``; fetches them into ``scratch``.

    ``former`` are the versions that the stage held before: without them each promotion could lose the margin again.
    A challenger that breaks its contract raises :class:`ContractError`: that is no matter of opinion. A champion
    that cannot be opened is a failed check: without it nothing can be compared.
    """
    challenger, former = stated(challenger), [stated(version) for version in former]
    champion = stated(champion) if champion is not None else None
    new = comparison.open_package(challenger, scratch)
    checks = [*on_its_own(new, configuration), _looks(challenger)]
    if champion is not None and champion.number == challenger.number:
        champion = None
    old: Package | None = None
    if champion is not None:
        who = f"champion v{champion.number}"
        old, problems = _opened(champion, who, scratch, required=True)
        checks += problems if old is None else against(new, old, configuration, who, required=True)
    best = _best(challenger, [version for version in (champion, *former) if version is not None])
    if best is not None and best is not champion:
        who = f"v{best.number}, the best in the stage before"
        other, problems = _opened(best, who, scratch, required=False)
        checks += problems if other is None else against(new, other, configuration, who, required=False)
    if old is not None:
        known = [version for version in (challenger, champion, best) if version is not None]
        for earlier in _on_other_recordings([*former, *versions.ancestors(old.version)], known):
            checks += _not_forgotten(new, old, earlier, configuration, scratch)
    return Decision(challenger.number, champion.number if champion else None, tuple(checks))


def on_its_own(new: Package, configuration: Configuration) -> list[Check]:
    """The rule of the report's verdict, and whether the stated errors come out again."""
    measured = comparison.errors(new, new.holdout)
    baselines = {name: errors_of(answers, new.holdout) for name, answers in new.holdout.baselines_deg.items()}
    clean = ~comparison.trained_on(new.holdout, new)
    found = rule.HeldOutErrors(
        model=measured[clean],
        baselines={name: errors[clean] for name, errors in baselines.items()},
        blocks=new.holdout.blocks[clean],
        split=new.contract.errors.split,
        leaking=new.contract.errors.leaking,
        left_out=int((~clean).sum()),
    )
    limits = configuration.rule()
    if baselines:
        checks = list(rule.assess(found, limits).checks)
    else:
        checks = [*rule.limits_held(found, limits), *_stated_baselines(found, new.contract.errors, configuration)]
    checks.append(_reproduced({"model": measured} | baselines, new.contract.errors, configuration))
    return [*checks, *_as_its_twin(new, measured, configuration)]


def _as_its_twin(new: Package, measured: Floats, configuration: Configuration) -> list[Check]:
    """Of a model that was trained on all samples, and is measured by its twin: whether it can be what was trained in
    the same way. On samples that it has seen it must hold the limits and lose nowhere to what has not seen them."""
    if new.registered is None:
        return []
    name, samples = "trained on all samples, itself on what its twin held out", new.holdout
    own = errors_of(comparison.answers(new.registered, new.contract.crop, samples), samples)
    limits, means = configuration.absolute, own.mean(axis=0)
    allowed = (limits.azimuth_error_deg, limits.elevation_error_deg)
    checks = [
        Check(f"{name}: {angle} error", f"{mean:.2f}°", f"≤ {limit:.2f}°", bool(mean <= limit))
        for angle, mean, limit in zip(rule.QUANTITIES, means.tolist(), allowed, strict=False)
    ]
    if not np.isfinite(own).all():
        return checks  # no figure can be made of it
    compared = comparison.Comparison(
        "twin", "itself", measured, own, samples.blocks, samples.scenarios, {}, "", samples.drivers
    )
    scenarios, drivers = configuration.scenarios, configuration.drivers
    checks.append(_no_worse(compared, name, configuration))
    checks += worst.scenario(compared, name, scenarios.min_samples, scenarios.worsening_deg)
    return checks + worst.driver(compared, name, drivers.worsening_deg)


def _no_worse(compared: comparison.Comparison, name: str, configuration: Configuration) -> Check:
    change, margin = compared.difference()[2], configuration.champion.margin_deg
    limit = f"interval ≤ {margin:+z.2f}°"
    return Check(f"{name}: 3-D error", f"{change.answer} ({change.describe()})", limit, change.high <= margin)


def _reproduced(measured: dict[str, Floats], stated: contract.Errors, configuration: Configuration) -> Check:
    off = 0.0
    for whose, errors in measured.items():
        promised = getattr(stated, whose, None)  # of the calibrations the contract states one
        if promised is not None:
            off = max(off, float(np.abs(errors.mean(axis=0) - [getattr(promised, name) for name in _ANGLES]).max()))
    within = configuration.held_out.reproduced_within_deg
    return Check("stated errors come out again", f"off by {off:.2f}°", f"≤ {within:.2f}°", off <= within)


def _stated_baselines(found: rule.HeldOutErrors, stated: contract.Errors, configuration: Configuration) -> list[Check]:
    """For a version that was registered before its baselines' answers were kept: the contract's means."""
    if len(found) < configuration.held_out.min_samples:
        return []
    unknown = "answers not kept with this version, so the contract's means are compared, without an interval"
    means = dict(zip(_ANGLES, found.model.mean(axis=0).tolist(), strict=True))
    slack = configuration.baselines.angle_slack_deg
    compared = [_beats(name, getattr(stated, name), means, slack) for name in ("constant", "calibrated")]
    return [Check("baselines", unknown, "said only", True), *compared]


def _beats(baseline: str, errors: contract.AngleErrors | None, found: dict[str, float], slack: float) -> Check:
    name = f"beats the {BASELINES[baseline]}"
    if errors is None:
        return Check(name, "not in the contract", "stated", False)
    limits = {angle: getattr(errors, angle) + (slack if angle != _ANGLES[2] else 0.0) for angle in _ANGLES}
    return Check(
        name,
        " / ".join(f"{found[angle]:.2f}" for angle in _ANGLES) + "°",
        "< " + " / ".join(f"{limits[angle]:.2f}" for angle in _ANGLES) + "° (az / el / 3-D)",
        all(found[angle] < limits[angle] for angle in _ANGLES),
    )


def _looks(challenger: Version) -> Check:
    """How many versions were tested on this recording before: the best of many is good by chance as well."""
    before = tested_on(challenger.model_name, challenger.tags.get(RECORDING, ""), challenger.number)
    numbers = ", ".join(map(str, before))
    found = (
        f"read for {len(before)} earlier version{'s' * (len(before) != 1)} too: {numbers}" if before else "read once"
    )
    return Check("test blocks", found, "said only", True)


def _best(challenger: Version, holders: Sequence[Version]) -> Version | None:
    """Of the versions that hold or held the stage the one with the smallest stated 3-D error.

    Those of the challenger's recording first: errors on other recordings are not comparable with them.
    """

    def rank(version: Version) -> tuple[bool, float]:
        error = version.error("angular_error_deg")
        elsewhere = version.tags.get(RECORDING) != challenger.tags.get(RECORDING)
        return elsewhere, np.inf if error is None else error

    return min((v for v in holders if v.number != challenger.number), key=rank, default=None)


def _opened(version: Version, who: str, scratch: Path, required: bool) -> tuple[Package | None, list[Check]]:
    """A version's package, or the check that says why there is none."""
    try:
        return comparison.open_package(version, scratch), []
    except (ContractError, RegistryError) as error:
        found, limit = " ".join(str(error).split())[:300], "intact files" if required else "said only"
        return None, [Check(_opens(who), found, limit, not required)]


def _opens(who: str) -> str:
    return f"{who} opens"


def _on_other_recordings(earlier: Sequence[Version], known: Sequence[Version]) -> list[Version]:
    """Of earlier versions the first one for each recording on which none of the ``known`` was tested."""
    tested = {version.tags.get(RECORDING, "") for version in known}
    found: dict[str, Version] = {}
    for version in earlier:
        found.setdefault(version.tags.get(RECORDING, ""), version)
    return [version for recording, version in found.items() if recording not in tested]


def _not_forgotten(
    new: Package, old: Package, earlier: Version, configuration: Configuration, scratch: Path
) -> list[Check]:
    """Champion and challenger on the held-out samples of an earlier version, of another recording than theirs.

    What the champion can do there, and nobody asked about since, a challenger must not have forgotten.
    """
    name = f"against champion {old.label}, the samples of v{earlier.number}"
    package, problems = _opened(earlier, name, scratch, required=False)
    if package is None:
        return problems
    if why := next(filter(None, (comparison.incomparable(package.contract, one.contract) for one in (new, old))), ""):
        return [Check(name, why, "said only", True)]
    doubted = (*_doubted(new, package, name), *_doubted(old, package, name))
    return [*doubted, *_on_samples(old, new, package.holdout, name, configuration, False)]


def _doubted(new: Package, old: Package, name: str) -> list[Check]:
    """What is to be known before the comparison ``name`` is believed."""
    said = comparison.doubt(new, old)
    return [Check(f"{name}: angles", said, "said only", True)] if said else []


def against(new: Package, old: Package, configuration: Configuration, who: str, *, required: bool) -> list[Check]:
    """Challenger and an earlier version on the same samples, that neither was trained on.

    Samples are the challenger's held-out ones, or the other's where that one cannot read these; with ``required`` there
    must be enough of them. Where the other comes from another drive its own are compared as well: a challenger at home
    on the new drive must not win by that alone.
    """
    if why := comparison.incomparable(new.contract, old.contract):
        limit = "pictures that both can read, angles that mean the same" if required else "said only"
        return [Check(f"against {who}: pictures", why, limit, not required)]
    checks = _doubted(new, old, f"against {who}")
    checks += _on_samples(old, new, new.holdout, f"against {who}, the challenger's samples", configuration, required)
    unread = not comparison.suits(new.holdout, old)
    if unread or old.holdout.drive != new.holdout.drive:
        # It may be part of what the challenger was trained on: then there is nothing to compare.
        name = f"against {who}, that one's samples"
        checks += _on_samples(old, new, old.holdout, name, configuration, required and unread)
    return [*checks, *worst.left_out(new, old, who, configuration.drivers.worsening_deg)]


def _forgotten(old: Package, new: Package, samples: Holdout, name: str, configuration: Configuration) -> list[Check]:
    """Where a champion was trained on all samples and a challenger fine-tuned from it has inherited them: its twin has
    not seen them, and whoever has must not lose to it."""
    if old.registered is None:
        return []
    inherited = comparison.trained_on(samples, new) & ~comparison.trained_on(samples, old)
    kept = comparison.subset(samples, inherited)
    if len(kept) < configuration.held_out.min_samples or len(np.unique(kept.blocks)) < MIN_BLOCKS:
        return []
    both = comparison.errors(old, kept), comparison.errors(new, kept)
    compared = comparison.Comparison(old.label, new.label, *both, kept.blocks, kept.scenarios, {}, "", kept.drivers)
    return [_no_worse(compared, f"{name}: {len(kept)} that {new.label} knows, {old.label} not", configuration)]


def _on_samples(
    old: Package, new: Package, samples: Holdout, name: str, configuration: Configuration, required: bool
) -> list[Check]:
    unread = " and ".join(one.label for one in (old, new) if not comparison.suits(samples, one))
    if unread:
        return [Check(f"{name}: pictures", f"too small, or no face for {unread}: not compared", "said only", True)]
    compared = comparison.compare(old, new, samples)
    least, blocks = configuration.held_out.min_samples, len(np.unique(compared.blocks))
    enough = len(compared) >= least and blocks >= MIN_BLOCKS
    comparable = Check(
        f"{name}: comparable",
        f"{len(compared)} that neither was trained on{compared.describe_left_out()}, in {blocks} time blocks"
        + f"; {compared.used}" * bool(compared.used),
        f"≥ {least} in ≥ {MIN_BLOCKS} blocks" if required else "said only",
        enough or not required,
    )
    if not enough:
        return [comparable, *_forgotten(old, new, samples, name, configuration)]
    error = _no_worse(compared, name, configuration)
    scenarios, drivers = configuration.scenarios, configuration.drivers
    scenario = worst.scenario(compared, name, scenarios.min_samples, scenarios.worsening_deg)
    return [comparable, error, *scenario, *worst.driver(compared, name, drivers.worsening_deg)]
