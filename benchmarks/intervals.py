"""``python -m benchmarks.intervals``: how often each kind of interval covers the truth, on drives where it is known.

A drive is drawn as an AR(1) series of differences between two models' errors that are equally good (null drives);
test blocks are cut from it and the mean difference gets an interval by each method. The settings of ``CHOICE`` were
used to choose the method, those of ``CONFIRMATION`` – other correlation times, numbers of blocks, distributions and
seeds – to see that the choice holds. ``false better`` is the share of null drives in which the interval lies below 0.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.special import stdtrit

from registry.intervals import Floats, Integers, mean_interval

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """A kind of drive and of test blocks on it."""

    blocks: int
    correlation_s: float
    """Time constant of the AR(1) series, seconds."""
    errors: str
    """Distribution of the differences: see :func:`_differences`."""
    sizes: str
    """``equal``, ``unequal`` (15–100 % of each block's frames could be used), ``extreme`` (one block has most)."""
    apart: bool
    """Blocks of 9 s a minute apart, as ``split=blocks`` cuts them; else stretches of 30 s that touch, ``by-drive``."""

    @property
    def name(self) -> str:
        """For the table."""
        cut = "9 s apart" if self.apart else "30 s touching"
        return f"{self.blocks} blocks of {cut}, {self.sizes}, {self.errors}, τ = {self.correlation_s:g} s"


def _settings(blocks: tuple[int, ...], times_s: tuple[float, float], errors: tuple[str, ...]) -> list[Setting]:
    return [
        Setting(number, time, kind, sizes, apart)
        for number in blocks
        for time, apart in zip(times_s, (True, False), strict=True)
        for kind in errors
        for sizes in ("equal", "unequal", "extreme")
    ]


CHOICE = _settings((5, 7, 10), (2.0, 4.0), ("normal", "norms", "glances"))
CONFIRMATION = _settings((5, 6, 8, 20), (0.7, 3.0), ("heavy tails", "restless blocks"))


def drive(setting: Setting, random: np.random.Generator) -> tuple[Floats, Integers]:
    """Differences (n,) of two equally good models in the test blocks of one drive, and each one's block."""
    length_s, period_s, step_s = (9.0, 60.0, 0.6) if setting.apart else (30.0, 30.0, 2.0)
    times = np.arange(round(setting.blocks * period_s / step_s)) * step_s
    block = (times // period_s).astype(np.int64)
    usable = times % period_s < length_s * _shares(setting, random)[block]
    return _differences(setting, block, step_s, random)[usable], block[usable]


def _shares(setting: Setting, random: np.random.Generator) -> Floats:
    if setting.sizes == "unequal":
        return random.uniform(0.15, 1.0, setting.blocks)
    shares = np.full(setting.blocks, 0.12 if setting.sizes == "extreme" else 1.0)
    shares[0] = 1.0
    return shares


def _differences(setting: Setting, block: Integers, step_s: float, random: np.random.Generator) -> Floats:
    def series(heavy: bool = False) -> Floats:
        return _autoregressive(len(block), step_s / setting.correlation_s, random, heavy)

    if setting.errors == "normal":
        return series()
    if setting.errors == "heavy tails":
        return series(heavy=True)
    # The 3-D errors of two models, each the length of an error in two angles.
    difference = np.hypot(series(), series()) - np.hypot(series(), series())
    if setting.errors == "norms":
        return difference
    if setting.errors == "glances":  # a fifth of the frames look elsewhere, and there errors are six times as large
        return difference * np.where(series() > 0.84, 3.0, 0.5)
    return difference * np.exp(random.normal(0, 0.5, setting.blocks))[block]  # restless blocks: some differ more


def _autoregressive(n: int, step: float, random: np.random.Generator, heavy: bool) -> Floats:
    noise = random.standard_t(3, n) if heavy else random.standard_normal(n)
    keep = float(np.exp(-step))
    noise[1:] *= (1 - keep**2) ** 0.5
    series: Floats = lfilter([1.0], [1.0, -keep], noise)
    return series


def shipped(values: Floats, blocks: Integers) -> Bounds:
    """Student's t over block means: what training and gate use."""
    found = mean_interval(values, blocks)
    return found.low, found.high


def percentile_bootstrap(values: Floats, blocks: Integers) -> Bounds:
    """Whole blocks drawn with replacement (Künsch 1989), 1,000 times: what both used before."""
    sums, sizes = np.bincount(blocks, weights=values), np.bincount(blocks)
    drawn = np.random.default_rng(0).integers(len(sums), size=(1000, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


def cluster_robust(values: Floats, blocks: Integers) -> Bounds:
    """The mean over frames with a cluster-robust error and G − 1 degrees of freedom (CR1)."""
    share, residual, mean = _frames(values, blocks)
    error = (len(share) / (len(share) - 1) * (share**2 * residual**2).sum()) ** 0.5
    return _student(mean, float(error), len(share) - 1)


def bell_mccaffrey(values: Floats, blocks: Integers) -> Bounds:
    """The mean over frames with the CR2 error and Satterthwaite's degrees of freedom (Bell and McCaffrey 2002)."""
    share, residual, mean = _frames(values, blocks)
    weight = share**2 / (1 - 2 * share + (share**2).sum())
    project = np.eye(len(share)) - share
    quadratic = project.T @ np.diag(weight) @ project
    freedom = np.trace(quadratic) ** 2 / np.trace(quadratic @ quadratic)
    return _student(mean, float((weight * residual**2).sum() ** 0.5), float(freedom))


def _frames(values: Floats, blocks: Integers) -> tuple[Floats, Floats, float]:
    sums, sizes = np.bincount(blocks, weights=values), np.bincount(blocks)
    return sizes / sizes.sum(), sums / sizes - values.mean(), float(values.mean())


def _student(mean: float, error: float, freedom: float) -> Bounds:
    reach = float(stdtrit(freedom, 0.975)) * error
    return mean - reach, mean + reach


Method = Callable[[Floats, Integers], Bounds]
METHODS: dict[str, Method] = {
    "t over block means": shipped,
    "percentile bootstrap": percentile_bootstrap,
    "cluster-robust t": cluster_robust,
    "CR2, Satterthwaite": bell_mccaffrey,
}


def simulate(setting: Setting, drives: int, seed: int, methods: dict[str, Method]) -> dict[str, tuple[float, float]]:
    """``(coverage, false better)`` of each method over so many null drives."""
    random = np.random.default_rng(seed)
    covered, better = dict.fromkeys(methods, 0), dict.fromkeys(methods, 0)
    for _ in range(drives):
        values, blocks = drive(setting, random)
        for name, method in methods.items():
            low, high = method(values, blocks)
            covered[name] += low <= 0 <= high
            better[name] += high < 0
    return {name: (covered[name] / drives, better[name] / drives) for name in methods}


def main() -> None:
    """Print one row a setting, and the range of each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drives", type=int, default=2000, help="null drives a setting (2000)")
    given = parser.parse_args()
    for title, settings, seed in (("choice", CHOICE, 0), ("confirmation", CONFIRMATION, 1)):
        print(f"\n{title}: coverage / false better, {given.drives} null drives a row\n")
        print("| drive | " + " | ".join(METHODS) + " |\n|---|" + "---|" * len(METHODS))
        rows = []
        for number, setting in enumerate(settings):
            rows.append(simulate(setting, given.drives, 1000 * seed + number, METHODS))
            print(f"| {setting.name} | " + " | ".join(f"{c:.3f} / {b:.3f}" for c, b in rows[-1].values()) + " |")
        ranges = [[row[name] for row in rows] for name in METHODS]
        cells = [
            f"{min(c for c, _ in r):.3f}–{max(c for c, _ in r):.3f} / ≤ {max(b for _, b in r):.3f}" for r in ranges
        ]
        print("| **all of them** | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
