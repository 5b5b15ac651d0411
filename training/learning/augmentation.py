"""Light, contrast, small shift and scale, and the mirror image with the azimuth's sign – on whole batches."""

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
    mirror: float = 0.0
    """Share of mirrored pictures. Off by default: the camera sits off the driver's axis, and the mirror image
    is the view of a camera on the other side, whose angles differ by more than a sign."""

    def apply(self, pictures: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, 3, h, w) floats in [0, 1] → the same, changed, and (n,) bools: which ones are mirrored.

        All randomness comes from ``generator`` (a CPU one), so the same generator gives the same pictures.
        """
        n = len(pictures)
        light, contrast, shift_x, shift_y, scale, coin = torch.rand(6, n, generator=generator).to(pictures.device)
        mirrored = coin < self.mirror
        zoom = 1 + (2 * scale - 1) * self.scale
        theta = pictures.new_zeros(n, 2, 3)
        theta[:, 0, 0] = torch.where(mirrored, -zoom, zoom)
        theta[:, 1, 1] = zoom
        theta[:, 0, 2] = (2 * shift_x - 1) * 2 * self.shift  # affine_grid spans −1…1: twice the share
        theta[:, 1, 2] = (2 * shift_y - 1) * 2 * self.shift
        grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
        moved = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        mean = moved.mean(dim=(1, 2, 3), keepdim=True)
        light = (1 + (2 * light - 1) * self.light).view(-1, 1, 1, 1)
        contrast = (1 + (2 * contrast - 1) * self.contrast).view(-1, 1, 1, 1)
        return ((moved - mean) * contrast + mean * light).clamp_(0, 1), mirrored


def mirror_targets(pitch_yaw: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    """(n, 2) targets with the yaw (azimuth) negated where the picture is mirrored."""
    sign = torch.ones_like(pitch_yaw)
    sign[mirrored, 1] = -1
    return pitch_yaw * sign
