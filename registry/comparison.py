"""Two versions side by side on the same held-out samples, none of which either was trained on."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recording import files, relative_to, scenarios
from recording.relative_to import CAR, HEAD
from registry import opening, versions
from registry.contract import Contract
from registry.crop import Crop
from registry.holdout import Holdout, errors_of
from registry.intervals import (
    CONFIDENCE,
    Floats,
    Integers,
    Interval,
    block_means,
    lower_bound_of_one,
    mean_interval,
)
from registry.lineage import Footage
from registry.network import GazeNetwork

Booleans = NDArray[np.bool_]
FIGURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".eps", ".ps")
"""Endings of figures that can be drawn."""


@dataclass(frozen=True)
class Package:
    """A version, fetched and verified, opened for comparison."""

    version: versions.Version
    contract: Contract
    network: GazeNetwork
    """What is measured: the registered network, or its twin where it was trained on the held-out samples too."""
    holdout: Holdout
    registered: GazeNetwork | None = None
    """The registered network, where its twin is measured."""

    @property
    def label(self) -> str:
        """``v3``, and whether a twin stands for it."""
        return f"v{self.version.number}" + " (its twin)" * (self.registered is not None)


@dataclass(frozen=True)
class Comparison:
    """Errors of two versions on the same n samples, degrees."""

    first: str
    second: str
    first_deg: Floats
    """(n, 3) azimuth, elevation and 3-D angular error of the first version."""
    second_deg: Floats
    """(n, 3) of the second."""
    blocks: Integers
    scenarios: Integers
    reasons: Mapping[str, int]
    """How many samples could not be used, by the reason: one of the two was trained within a second of them."""
    used: str
    """Which samples were used: frames and recording."""
    drivers: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, np.str_))
    """(n,) who drives; empty where that is not known."""

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def left_out(self) -> int:
        """How many samples could not be used."""
        return sum(self.reasons.values())

    def describe_left_out(self) -> str:
        """`` (14 left out: v1 was trained on 12, both were trained on 2)``; empty where all could be used."""
        why = ", ".join(f"{who} trained on {count}" for who, count in self.reasons.items())
        return f" ({self.left_out} left out: {why})" * bool(why)

    def difference(self) -> tuple[Interval, Interval, Interval]:
        """Mean of second − first for the three errors over time blocks, degrees: negative, the second is better."""
        azimuth, elevation, angular = (mean_interval(change, self.blocks) for change in self._changes().T)
        return azimuth, elevation, angular

    def describe_weights(self) -> str:
        """Why a difference is another than that of the two mean errors, where it is; else empty."""
        if np.allclose([change.mean for change in self.difference()], self._changes().mean(axis=0), atol=0.005):
            return ""
        sizes = np.unique(self.blocks, return_counts=True)[1]
        return (
            f"the errors are means over {len(self)} samples, the differences over {len(sizes)} time blocks of "
            f"{sizes.min()} to {sizes.max()} samples, each block counting once"
        )

    def by_scenario(self) -> list[tuple[int, int, float, float]]:
        """``(scenario, samples, angular error of first, of second)`` for the scenarios that have samples."""
        rows = []
        for number in range(1, scenarios.COUNT + 1):
            inside = self.scenarios == number
            if inside.any():
                rows.append(
                    (number, int(inside.sum()), self.first_deg[inside, 2].mean(), self.second_deg[inside, 2].mean())
                )
        return rows

    def scenario_changes(self, min_samples: int) -> list["ScenarioChange"]:
        """How the 3-D error changed in each scenario with at least so many samples, as one look of so many."""
        judged = [number for number, samples, _, _ in self.by_scenario() if samples >= min_samples]
        return [self._change_in(number, len(judged)) for number in judged]

    def _change_in(self, number: int, looks: int) -> "ScenarioChange":
        change, inside = self._changes()[:, 2], self.scenarios == number
        at_least = -np.inf
        if not inside.all():
            # A piece is what one time block holds of one scenario; elsewhere they tell how much such pieces vary.
            piece = np.unique(np.column_stack([self.blocks, self.scenarios]), axis=0, return_inverse=True)[1].ravel()
            here, elsewhere = (block_means(change[part], piece[part]) for part in (inside, ~inside))
            at_least = lower_bound_of_one(here, elsewhere, looks)
        return ScenarioChange(number, float(change[inside].mean()), at_least)

    def driver_changes(self) -> list[tuple[str, Interval]]:
        """Each driver and how their 3-D error changed, over their time blocks; with an interval that is wider the more
        drivers are looked at (Bonferroni), so that none is refused for being one of many."""
        names = np.unique(self.drivers)
        change, confidence = self._changes()[:, 2], 1 - (1 - CONFIDENCE) / max(1, len(names))
        places = [np.flatnonzero(self.drivers == name) for name in names]
        return [
            (str(name), mean_interval(change[place], self.blocks[place], confidence))
            for name, place in zip(names, places, strict=True)
        ]

    def _changes(self) -> Floats:
        return self.second_deg - self.first_deg


@dataclass(frozen=True)
class ScenarioChange:
    """Change of the mean 3-D error in one scenario, degrees; positive is worse.

    ``at_least_deg`` is its lower confidence bound, corrected for the number of scenarios that were looked at.
    """

    number: int
    mean_deg: float
    at_least_deg: float


def open_package(version: versions.Version, scratch: Path) -> Package:
    """Fetch a version into ``scratch``, verify and open it; ``ContractError`` names the file at fault."""
    fetched = opening.fetch(version.model_name, version.number, version.seal, scratch)
    registered = fetched.network() if fetched.contract.has_twin else None
    return Package(version, fetched.contract, fetched.measured_network(), fetched.holdout(), registered)


def errors(package: Package, held_out: Holdout) -> Floats:
    """(n, 3) azimuth, elevation and 3-D angular error of a version on every held-out sample, degrees.

    Held-out pictures show the driver view, so that each version reads of it what its own contract says. A twin answers
    to what its model has seen and it has not; to all else the model itself.
    """
    crop = package.contract.crop
    if package.registered is None:
        return errors_of(answers(package.network, crop, held_out), held_out)
    known, answered = seen(held_out, package.holdout.saw), np.empty((len(held_out), 2))
    for network, which in ((package.network, known), (package.registered, ~known)):
        answered[which] = answers(network, crop, subset(held_out, which))
    return errors_of(answered, held_out)


def answers(network: GazeNetwork, crop: Crop, held_out: Holdout) -> Floats:
    """(n, 2) degrees: what a network answers to held-out samples, each drive cut as ``crop`` says."""
    answered = np.empty((len(held_out), 2))
    for place, part in held_out.parts():
        cut = crop.settled(part.face).cut_driver_view
        answered[place] = network.predict_encoded(part.jpegs, part.names, cut)
    return answered


def same_crop(first: Contract, second: Contract) -> bool:
    """True when both models read pictures that were cut in the same way, so that one's samples suit the other."""
    one, other = first.crop, second.crop
    if one.rectangles is not None and other.rectangles is not None:
        return one.rectangles == other.rectangles
    return (one.layout, one.view) == (other.layout, other.view)


def incomparable(first: Contract, second: Contract) -> str:
    """Why two models cannot answer the same samples; "" where they can."""
    if not same_crop(first, second):
        cut = " and ".join(f"{crop.layout}/{crop.view}" for crop in (first.crop, second.crop))
        return f"cut in different ways ({cut})"
    if {first.output.label_frame, second.output.label_frame} == {CAR, HEAD}:
        meant = " and ".join(f"to {promise.output.relative_to}" for promise in (first, second))
        return f"answered relative {meant}"
    return ""


def doubt(first: Package, second: Package) -> str:
    """One line where the answers of one version count from the head and nothing shows that the other's do as well."""
    promised = [package.contract.output for package in (first, second)]
    said = relative_to.doubt(promised[0].label_frame, promised[1].label_frame)
    if not said:
        return ""
    one, other = (promise.relative_to for promise in promised)
    return f"{first.label} answers relative to {one}, {second.label} relative to {other}: {said}"


def suits(samples: Holdout, package: Package) -> bool:
    """Whether a version can read these pictures as its contract says.

    No face can be cut out of pictures that were squeezed for a network that read all of them, and where a version has
    to find the face, somebody must have found it.
    """
    crop = package.contract.crop
    return all(
        not (part.squeezed and crop.face is not None) and not (crop.detected and part.face is None)
        for _, part in samples.parts()
    )


def trained_on(samples: Holdout, package: Package) -> Booleans:
    """(n,) bool: which samples the package's network that is measured has seen, or a near copy (the same recording
    within a second)."""
    return seen(samples, package.holdout.measured_saw)


def seen(samples: Holdout, saw: Callable[[Footage], Booleans]) -> Booleans:
    """(n,) bool: ``saw`` of each drive's samples."""
    found = np.zeros(len(samples), dtype=bool)
    for place, part in samples.parts():
        found[place] = saw(part.footage)
    return found


def compare(first: Package, second: Package, samples: Holdout) -> Comparison:
    """Both versions on those of ``samples`` that neither was trained on; may come out empty."""
    by_first, by_second = trained_on(samples, first), trained_on(samples, second)
    kept = subset(samples, ~(by_first | by_second))
    reasons = {
        f"{first.label} was": by_first & ~by_second,
        f"{second.label} was": by_second & ~by_first,
        "both were": by_first & by_second,
    }
    return Comparison(
        first.label,
        second.label,
        errors(first, kept),
        errors(second, kept),
        kept.blocks,
        kept.scenarios,
        {who: int(which.sum()) for who, which in reasons.items() if which.any()},
        _described(kept),
        kept.drivers,
    )


def _described(samples: Holdout) -> str:
    if not len(samples):
        return ""
    if samples.sources:
        drives = len(np.unique(samples.source))
        return f"{drives} drive{'s' * (drives > 1)} of {', '.join(np.unique(samples.drivers))}"
    return f"frames {samples.frames.min()} to {samples.frames.max()} of recording {samples.drive[:8]}"


def both_holdouts(first: Package, second: Package) -> list[Holdout]:
    """The held-out samples of both packages that suit both, each sample once."""
    # Of a sample that both have, the picture that shows more of it counts, whichever version is named first.
    found: list[Holdout] = []
    each = [part for package in (first, second) for _, part in package.holdout.parts()]
    for samples in sorted(each, key=lambda one: one.squeezed):
        if suits(samples, first) and suits(samples, second):
            known = [one.frames for one in found if one.drive == samples.drive]
            found.append(subset(samples, ~np.isin(samples.frames, known)))
    return found


def joined(parts: list[Comparison]) -> Comparison:
    """Comparisons of the same two versions on different samples, as one."""
    ends = np.cumsum([0] + [part.blocks.max(initial=-1) + 1 for part in parts])
    return Comparison(
        parts[0].first,
        parts[0].second,
        np.concatenate([part.first_deg for part in parts]),
        np.concatenate([part.second_deg for part in parts]),
        np.concatenate([part.blocks + start for part, start in zip(parts, ends, strict=False)]),
        np.concatenate([part.scenarios for part in parts]),
        sum((Counter(part.reasons) for part in parts), Counter()),
        ", ".join(part.used for part in parts if part.used),
    )


def subset(samples: Holdout, keep: Booleans) -> Holdout:
    """The samples where ``keep`` (n,) is true."""
    return samples.subset(np.flatnonzero(keep))


def draw(compared: Comparison, path: Path) -> None:
    """A figure: every sample's angular error under both versions, and the mean per scenario.

    ``path`` ends in one of :data:`FIGURES`.
    """
    # Here: only this command needs matplotlib, and serving must not pay for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    scatter, bars = figure.subplots(1, 2)
    first, second = compared.first_deg[:, 2], compared.second_deg[:, 2]
    limit = 1.05 * max(first.max(), second.max())
    scatter.plot([0, limit], [0, limit], color="0.6", linewidth=1)
    scatter.scatter(first, second, s=14, alpha=0.6, edgecolors="none", color="#1f6fb4")
    scatter.set(xlim=(0, limit), ylim=(0, limit), aspect="equal")
    scatter.set(xlabel=f"{compared.first}: angular error (°)", ylabel=f"{compared.second}: angular error (°)")
    scatter.set_title(f"{len(compared)} samples; below the line {compared.second} is better", fontsize=11)
    rows = compared.by_scenario()
    place = np.arange(len(rows))
    bars.bar(place - 0.2, [row[2] for row in rows], 0.4, label=compared.first, color="0.65")
    bars.bar(place + 0.2, [row[3] for row in rows], 0.4, label=compared.second, color="#1f6fb4")
    bars.set_xticks(place, [f"{row[0]}\nn={row[1]}" for row in rows], fontsize=9)
    bars.set(xlabel="scenario", ylabel="mean angular error (°)")
    bars.legend(frameon=False)
    change = compared.difference()[2]
    bars.set_title(f"{compared.second} − {compared.first}: {change.describe()}, {change.answer}", fontsize=11)
    for axes in (scatter, bars):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, lambda unfinished: figure.savefig(unfinished, dpi=120, format=path.suffix[1:].lower()))
