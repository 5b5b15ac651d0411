"""Light, contrast, small shift and scale, on whole batches."""

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How far a picture may be changed without changing where the driver looks."""

    light: float = 0.25
    """Factor on all values, 1 ± light."""
    contrast: float = 0.25
    """Factor on the distance from the picture's mean, 1 ± contrast."""
    shift: float = 0.02
    """Of the picture's width and height, either way."""
    scale: float = 0.03
    """Zoom, 1 ± scale."""

    def apply(self, pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(n, 3, h, w) floats in [0, 1] → the same, changed.

        All randomness comes from ``generator`` (a CPU one), so the same generator gives the same pictures.
        """
        n = len(pictures)
        light, contrast, shift_x, shift_y, scale = torch.rand(5, n, generator=generator).to(pictures.device)
        zoom = 1 + (2 * scale - 1) * self.scale
        theta = pictures.new_zeros(n, 2, 3)
        theta[:, 0, 0] = zoom
        theta[:, 1, 1] = zoom
        theta[:, 0, 2] = (2 * shift_x - 1) * 2 * self.shift  # affine_grid spans −1…1: twice the share
        theta[:, 1, 2] = (2 * shift_y - 1) * 2 * self.shift
        grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
        moved = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        mean = moved.mean(dim=(1, 2, 3), keepdim=True)
        light = (1 + (2 * light - 1) * self.light).view(-1, 1, 1, 1)
        contrast = (1 + (2 * contrast - 1) * self.contrast).view(-1, 1, 1, 1)
        lit: torch.Tensor = ((moved - mean) * contrast + mean * light).clamp_(0, 1)
        return lit
