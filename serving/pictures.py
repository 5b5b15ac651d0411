"""The way of an encoded picture to the network's input."""

import numpy as np

from recording import preprocess
from registry.contract import Crop
from serving.crops import WHOLE, driver_view


def read(
    data: bytes,
    name: str,
    *,
    crop: str = "driver",
    promised: Crop = WHOLE,
    max_pixels: int = preprocess.MAX_PIXELS,
) -> np.ndarray:
    """JPEG or PNG bytes → (224, 224, 3) uint8 RGB of the driver view, as training saw it.

    ``name`` stands for the picture in messages; ``crop`` and the contract's ``promised`` as in
    :func:`serving.crops.driver_slices`. Raises :class:`~recording.exceptions.InputError` where
    :func:`recording.pictures.decode` does.
    """
    return preprocess.resize(driver_view(preprocess.decode(data, name, max_pixels=max_pixels), crop, promised))
