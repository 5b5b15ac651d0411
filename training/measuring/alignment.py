"""Do the labels and the base model speak of the same angles? Every sign and swap is tried before training.

Mixed-up angle order, sign and zero are the most frequent faults of gaze data. The base model's answers on the
training samples are compared with the labels under the eight hypotheses (swapped or not, each angle flipped or
not); a constant shift is expected (another camera mount) and taken out before comparing.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import nn

from recording.angles import wrap_deg
from registry.intervals import Floats

# A hypothesis replaces "as they are" only when it explains clearly more: a base that answers noise agrees with
# every hypothesis equally badly, and choosing among those would be choosing noise.
MIN_CORRELATION = 0.3
MIN_GAIN = 0.10


@dataclass(frozen=True)
class Alignment:
    """How the base model's answers map to the labels: ``label ≈ sign · base[order] + shift`` (degrees).

    ``error_deg`` is the mean absolute error under this hypothesis with the shift removed, ``as_is_error_deg``
    the same without flip or swap; ``correlation`` is per angle under the chosen hypothesis.
    """

    swapped: bool
    azimuth_sign: int
    elevation_sign: int
    shift_deg: tuple[float, float]
    error_deg: float
    as_is_error_deg: float
    correlation: tuple[float, float]

    def changes(self) -> tuple[bool, int, int]:
        """Swapped or not, and the two signs."""
        return self.swapped, self.azimuth_sign, self.elevation_sign

    def apply(self, base_deg: Floats) -> Floats:
        """(n, 2) base answers → the same under the hypothesis, shifted, degrees."""
        return wrap_deg(_hypothesis(base_deg, self.swapped, self.azimuth_sign, self.elevation_sign) + self.shift_deg)

    def adopt(self, network: nn.Module) -> None:
        """Change the last layer so that the network answers under this hypothesis (in place)."""
        last = network.get_submodule("fc.3")
        order = [1, 0] if self.swapped else [0, 1]
        weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
        sign = torch.tensor([self.elevation_sign, self.azimuth_sign], dtype=weight.dtype)  # (pitch, yaw)
        shift = torch.tensor(np.radians([self.shift_deg[1], self.shift_deg[0]]), dtype=weight.dtype)
        with torch.no_grad():
            weight.copy_(weight[order] * sign[:, None])
            bias.copy_(bias[order] * sign + shift)

    def describe(self) -> str:
        """One plain line: swapped, flipped, shifted, or unrelated."""
        found = []
        if self.swapped:
            found.append("azimuth and elevation look SWAPPED")
        if self.azimuth_sign < 0:
            found.append("azimuth looks FLIPPED")
        if self.elevation_sign < 0:
            found.append("elevation looks FLIPPED")
        agree = "; ".join(found) if found else "signs and order agree"
        weak = [n for n, r in zip(("azimuth", "elevation"), self.correlation, strict=True) if abs(r) < MIN_CORRELATION]
        doubt = f"; the base says little about {' and '.join(weak)} (|r| < {MIN_CORRELATION})" if weak else ""
        return (
            f"labels against the base model: {agree}; shifted by {self.shift_deg[0]:+z.1f}° in azimuth and "
            f"{self.shift_deg[1]:+z.1f}° in elevation (r = {self.correlation[0]:.2f}, {self.correlation[1]:.2f}){doubt}"
        )


def align(base_deg: Floats, labels_deg: Floats) -> Alignment:
    """The best hypothesis for (n, 2) base answers and (n, 2) labels, degrees; training samples only.

    Another hypothesis than "as they are" is chosen only if both its correlations are positive, at least one is
    above ``MIN_CORRELATION``, every angle that it changes is itself correlated, and it lowers the shift-free error
    by more than ``MIN_GAIN``.
    """
    as_is = _fit(base_deg, labels_deg, False, 1, 1)
    rivals = [
        _fit(base_deg, labels_deg, swapped, azimuth_sign, elevation_sign)
        for swapped, azimuth_sign, elevation_sign in product((False, True), (1, -1), (1, -1))
    ]
    credible = [rival for rival in rivals if _credible(rival, as_is)]
    return min(credible, key=lambda fit: fit.error_deg, default=as_is)


def _credible(rival: Alignment, as_is: Alignment) -> bool:
    changed = [rival.swapped or rival.azimuth_sign < 0, rival.swapped or rival.elevation_sign < 0]
    proven = all(r > MIN_CORRELATION for r, is_changed in zip(rival.correlation, changed, strict=True) if is_changed)
    return any(changed) and proven and rival.error_deg < (1 - MIN_GAIN) * as_is.error_deg


def _fit(base_deg: Floats, labels_deg: Floats, swapped: bool, azimuth_sign: int, elevation_sign: int) -> Alignment:
    answers = _hypothesis(base_deg, swapped, azimuth_sign, elevation_sign)
    shift = np.median(wrap_deg(labels_deg - answers), axis=0)
    error = float(np.abs(wrap_deg(answers + shift - labels_deg)).mean())
    azimuth, elevation = (_correlation(answers[:, k], labels_deg[:, k]) for k in range(2))
    plain = np.asarray(base_deg)
    plain_error = wrap_deg(plain + np.median(wrap_deg(labels_deg - plain), axis=0) - labels_deg)
    return Alignment(
        swapped,
        azimuth_sign,
        elevation_sign,
        (float(shift[0]), float(shift[1])),
        error,
        float(np.abs(plain_error).mean()),
        (azimuth, elevation),
    )


def _hypothesis(base_deg: Floats, swapped: bool, azimuth_sign: int, elevation_sign: int) -> Floats:
    base = np.asarray(base_deg, dtype=np.float64)
    return np.asarray((base[:, ::-1] if swapped else base) * np.array([azimuth_sign, elevation_sign]))


def _correlation(one: Floats, other: Floats) -> float:
    """Pearson's r; 0 where one of the two never changes."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
