"""Import this before torchvision: it makes a CPU build of torch and the torchvision wheel work together.

It also keeps CUDA's convolutions to those algorithms that add in one order: the same seed, the same version.

The torchvision wheel on the package index is built for CUDA torch. Beside a CPU torch its compiled operators
do not load and ``import torchvision`` stops with ``operator torchvision::nms does not exist``. Nothing here
uses these operators (only models and weights), so declaring their schemas is enough. With a matching pair
the compiled operators are there and the declaration is skipped.
"""

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_missing_operators() -> bool:
    """Declare torchvision's operators where its compiled ones do not load; True when that was needed."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return False
    import sys

    for name in [module for module in sys.modules if module.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported by the failed try
    for schema in _SCHEMAS:
        torch.library.define(f"torchvision::{schema.split('(')[0]}", schema[schema.index("(") :])
    return True


declare_missing_operators()
torch.backends.cudnn.deterministic = True
