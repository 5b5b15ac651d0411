"""Exposure, contrast, shift and scale, on whole batches: half of the pictures a little, half of them far.

A driver comes back in other light and sits closer to the camera. A network trained on pictures of one sitting that are
changed a little takes exposure and place in the picture for gaze: on real faces of two sittings that made errors half
as large again. With all pictures changed far, a drive in one light is learnt more slowly (docs/benchmarks.md). Behind a
frozen trunk, where one of two stored copies is changed, it is a quarter of what is drawn.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

_DARKEST = 1e-4  # of a picture that gamma is applied to: the power of 0 has no slope


@dataclass(frozen=True)
class Augmentation:
    """How far a picture may be changed without changing where the driver looks."""

    exposure: float = 1.0
    """Stops: factor on all values of at most 2^exposure, at least its inverse."""
    gamma: float = 0.4
    """Power of at most 2^gamma, at least its inverse."""
    contrast: float = 0.25
    """Factor on the distance from the picture's mean, 1 ± contrast."""
    shift: float = 0.08
    """Of the picture's width and height, either way."""
    scale: float = 0.15
    """Part of the picture that is shown: its sides times at most 1 + scale, at least the inverse."""
    often: float = 0.5
    """Share of the pictures that are changed so far."""
    rest: float = 0.2
    """How far the others are, of that."""

    def apply(self, pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(n, 3, h, w) floats in [0, 1] → the same, changed.

        All randomness comes from ``generator`` (a CPU one), so the same generator gives the same pictures.
        """
        n, device = len(pictures), pictures.device
        far = torch.where(torch.rand(n, generator=generator) < self.often, 1.0, self.rest)
        drawn = (2 * torch.rand(6, n, generator=generator) - 1) * far
        exposure, gamma, contrast, shift_x, shift_y, scale = drawn.to(device)
        lit = self._moved(pictures, shift_x, shift_y, scale).clamp_(min=_DARKEST).pow(_each(2 ** (gamma * self.gamma)))
        mean = lit.mean(dim=(1, 2, 3), keepdim=True)
        spread = (lit - mean).mul_(_each(1 + contrast * self.contrast)).add_(mean)
        changed: torch.Tensor = spread.mul_(_each(2 ** (exposure * self.exposure))).clamp_(0, 1)
        return changed

    def _moved(
        self, pictures: torch.Tensor, shift_x: torch.Tensor, shift_y: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        zoom = (1 + self.scale) ** scale
        theta = pictures.new_zeros(len(pictures), 2, 3)
        theta[:, 0, 0] = zoom
        theta[:, 1, 1] = zoom
        theta[:, 0, 2] = shift_x * 2 * self.shift  # affine_grid spans −1…1: twice the share
        theta[:, 1, 2] = shift_y * 2 * self.shift
        grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
        return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _each(factors: torch.Tensor) -> torch.Tensor:
    """(n,) → (n, 1, 1, 1): one for each picture."""
    return factors.view(-1, 1, 1, 1)
