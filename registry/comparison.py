"""Two versions side by side on the same held-out samples, none of which either was trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recording import angles, scenarios
from registry import contract, versions
from registry.contract import Contract
from registry.holdout import FILE_NAME, Holdout
from registry.network import GazeNetwork

_RESAMPLES = 2000
# A bootstrap over fewer blocks says little: longer blocks are cut into stretches of consecutive samples.
_MIN_BLOCKS = 10


@dataclass(frozen=True)
class Package:
    """A version, fetched and verified, opened for comparison."""

    version: versions.Version
    contract: Contract
    network: GazeNetwork
    holdout: Holdout

    @property
    def label(self) -> str:
        """``v3``."""
        return f"v{self.version.number}"


@dataclass(frozen=True)
class Comparison:
    """Errors of two versions on the same n samples, degrees."""

    first: str
    second: str
    first_deg: np.ndarray
    """(n, 3) azimuth, elevation and 3-D angular error of the first version."""
    second_deg: np.ndarray
    """(n, 3) of the second."""
    blocks: np.ndarray
    scenarios: np.ndarray
    left_out: int
    """Samples that could not be used, because one of the two was trained within a second of them."""

    def __len__(self) -> int:
        return len(self.blocks)

    def difference(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean of second − first for the three errors, and its 95 % interval: three arrays (3,), degrees."""
        return paired_bootstrap(self.second_deg - self.first_deg, self.blocks)

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


def open_package(version: versions.Version, scratch: Path) -> Package:
    """Fetch a version into ``scratch``, verify and open it; ``ContractError`` names the file at fault."""
    folder = versions.download(version.model_name, version.number, scratch)
    sealed = versions.verify_fetched(version, folder)
    return Package(version, sealed, GazeNetwork(folder / contract.NETWORK), Holdout.read(folder / FILE_NAME))


def errors(network: GazeNetwork, held_out: Holdout) -> np.ndarray:
    """(n, 3) azimuth, elevation and 3-D angular error of every held-out sample, degrees."""
    answers = network.predict_encoded(held_out.jpegs, held_out.names)
    return np.column_stack(
        [
            angles.absolute_errors(answers, held_out.labels_deg),
            angles.angular_errors(answers, held_out.labels_deg),
        ]
    )


def trained_on(samples: Holdout, package: Package) -> np.ndarray:
    """(n,) bool: which samples the package's model has seen, or a near copy (the same drive within a second)."""
    return package.holdout.saw(samples.drive, samples.frames, samples.fps)


def compare(first: Package, second: Package, samples: Holdout) -> Comparison:
    """Both versions on those of ``samples`` that neither was trained on; may come out empty."""
    clean = ~(trained_on(samples, first) | trained_on(samples, second))
    kept = subset(samples, clean)
    return Comparison(
        first.label,
        second.label,
        errors(first.network, kept),
        errors(second.network, kept),
        kept.blocks,
        kept.scenarios,
        int((~clean).sum()),
    )


def both_holdouts(first: Package, second: Package) -> list[Holdout]:
    """The held-out samples of both packages, each sample once."""
    a, b = first.holdout, second.holdout
    new = np.ones(len(b), dtype=bool) if a.drive != b.drive else ~np.isin(b.frames, a.frames)
    return [a, subset(b, new)]


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
        sum(part.left_out for part in parts),
    )


def subset(samples: Holdout, keep: np.ndarray) -> Holdout:
    """The samples where ``keep`` (n,) is true."""
    chosen = np.flatnonzero(keep)
    return Holdout(
        jpegs=[samples.jpegs[index] for index in chosen],
        names=[samples.names[index] for index in chosen],
        labels_deg=samples.labels_deg[chosen],
        frames=samples.frames[chosen],
        blocks=samples.blocks[chosen],
        scenarios=samples.scenarios[chosen],
        drive=samples.drive,
        fps=samples.fps,
        trained_frames=samples.trained_frames,
        trained_drives=samples.trained_drives,
    )


def paired_bootstrap(
    differences: np.ndarray, blocks: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of paired differences (n, k) and its 95 % interval: three arrays (k,).

    Whole time blocks are drawn with replacement, because neighbouring frames err alike (Künsch 1989).
    """
    pieces = _pieces(blocks)
    sums = np.stack([differences[piece].sum(axis=0) for piece in pieces])
    sizes = np.array([len(piece) for piece in pieces])
    drawn = np.random.default_rng(seed).integers(len(pieces), size=(_RESAMPLES, len(pieces)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return differences.mean(axis=0), low, high


def _pieces(blocks: np.ndarray) -> list[np.ndarray]:
    """Indices by block, the blocks cut further where there are few."""
    whole = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    cuts = -(-_MIN_BLOCKS // len(whole))  # rounded up
    return [piece for block in whole for piece in np.array_split(block, cuts) if len(piece)]


def draw(compared: Comparison, path: Path) -> None:
    """A figure: every sample's angular error under both versions, and the mean per scenario."""
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
    mean, low, high = (values[2] for values in compared.difference())
    bars.set_title(
        f"{compared.second} − {compared.first}: {mean:+.2f}° (95 % interval {low:+.2f}° to {high:+.2f}°)", fontsize=11
    )
    for axes in (scatter, bars):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
