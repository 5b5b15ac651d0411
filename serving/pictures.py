"""The way of an encoded picture to the network's input."""

from pathlib import Path

import numpy as np

from recording import preprocess
from registry.crop import Crop
from serving.crops import WHOLE, Promise, Say, came_as, network_view, settled, unsaid


def read(
    data: bytes,
    name: str,
    *,
    crop: str = "driver",
    promised: Promise = WHOLE,
    max_pixels: int = preprocess.MAX_PIXELS,
    say: Say = unsaid,
) -> np.ndarray:
    """JPEG or PNG bytes → (224, 224, 3) uint8 RGB: what the network reads of it, as training saw it.

    ``name`` stands for the picture in messages; ``crop`` and the contract's ``promised`` as in
    :func:`serving.crops.network_view`; ``say`` hears of a second face, where one has to be found. Raises
    :class:`~recording.exceptions.InputError` where :func:`recording.pictures.decode` and
    :func:`~serving.crops.network_view` do.
    """
    picture = preprocess.decode(data, name, max_pixels=max_pixels)
    if isinstance(promised, Crop):
        promised = settled(picture, crop, promised, name, say)
    return preprocess.resize(network_view(picture, crop, promised, name, came=came_as(data)))


def read_sample(path: Path, promised: Crop) -> np.ndarray:
    """:func:`read` for the driver picture of a prepared or bare folder, which shows the driver view and nothing else.

    Raises :class:`~recording.exceptions.InputError` as :func:`read`, but proposes nothing else that it may show.
    """
    return preprocess.read(path.read_bytes(), path.name, promised.cut)
