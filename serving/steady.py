"""The face in the pictures of a stream, for versions that have to find it: one place for all of them."""

from collections import deque
from threading import Lock

import numpy as np

from recording import detection
from recording.exceptions import InputError
from recording.face import Choice
from recording.layouts import Layout
from registry.crop import Crop

LOOKED_AT = 24
"""Pictures of a stream after which the rectangle stays where it is, as it does in the drives of the training."""


class Steady:
    """A contract's promise for the pictures of one stream, which come one after the other.

    Where the contract has the rectangle, or has none, it is the contract's. Where it has to be found, it is what the
    driver views seen so far agree on; until they do, pictures are refused, each with an :class:`InputError`. A face
    that was found is not lost again by pictures that show none.
    """

    def __init__(self, promised: Crop) -> None:
        self._promised, self._settled = promised, promised
        self._looks: deque[np.ndarray] = deque(maxlen=LOOKED_AT)
        self.two_faces: Choice | None = None
        """The rectangle of the stream, where another face might be the driver's."""
        self._lock = Lock()  # a frame that took too long to answer is looked at beside the next one

    @property
    def reads_face(self) -> bool:
        """See :attr:`Crop.reads_face`."""
        return self._promised.reads_face

    def variants(self) -> tuple[Layout, ...]:
        """See :meth:`Crop.variants`."""
        return self._promised.variants()

    def cut(self, picture: np.ndarray, name: str) -> np.ndarray:
        """See :meth:`Crop.cut`."""
        return self._settled_after(picture, name).cut(picture, name)

    def cut_driver_view(self, picture: np.ndarray, name: str) -> np.ndarray:
        """See :meth:`Crop.cut_driver_view`."""
        return self._settled_after(picture, name).cut_driver_view(picture, name)

    def _settled_after(self, picture: np.ndarray, name: str) -> Crop:
        if not self._promised.detected:
            return self._promised
        with self._lock:
            if self._settled.rectangle is None or len(self._looks) < LOOKED_AT:
                chosen = _chosen(self._promised, self._looks, picture)
                if chosen.face is not None:
                    self._settled = self._promised.settled(chosen.face)
                    self.two_faces = chosen if chosen.two_faces else None
            if self._settled.rectangle is None:
                raise InputError(
                    f"{name}: no face found so far, where this version needs one; show it from the front, or give the "
                    "face alone (crop=face)"
                )
            return self._settled


def _chosen(promised: Crop, looks: deque[np.ndarray], view: np.ndarray) -> Choice:
    """The rectangle on which ``looks`` agree, the one at ``view``, which is added, included.

    A stream cannot wait: one is enough at first.
    """
    looks.append(detection.detect(np.ascontiguousarray(view)))
    height, width = view.shape[:2]
    return detection.choose(looks, width, height, 1, promised.room)
