"""One verified version, ready to answer."""

from dataclasses import dataclass, field

import numpy as np
import onnxruntime

from registry.baseline_errors import BaselineErrors
from registry.contract import Contract, VerifiedPackage
from registry.network import Network

_PREFERRED = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network together with the version that it is, so that no answer can name another one."""

    model: str
    version: int
    label: str
    """Stage, ``@alias``, or empty: for a fixed version, and for one that has lost its stage and goes on answering."""
    since: str
    package: VerifiedPackage
    """The verified files that it was opened from."""
    network: Network
    baselines: BaselineErrors = field(default_factory=BaselineErrors)
    """What the baselines are wrong by on its held-out samples."""

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """(n, 224, 224, 3) uint8 RGB → (n, 2) float64 ``(azimuth, elevation)`` degrees."""
        return self.network.predict(pictures)

    @property
    def contract(self) -> Contract:
        """What it promises."""
        return self.package.contract

    @property
    def precision(self) -> str:
        """What it computes in: ``float32`` or ``bfloat16``."""
        return self.network.precision

    @property
    def identity(self) -> dict[str, object]:
        """What every answer says about its origin."""
        return {"model": self.model, "version": self.version, "stage": self.label}


def best_providers() -> tuple[str, ...]:
    """ONNX Runtime's execution providers that this installation has, fastest first; the CPU always."""
    available = onnxruntime.get_available_providers()
    return tuple(name for name in _PREFERRED if name in available)
