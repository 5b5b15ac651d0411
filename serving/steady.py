"""The face in pictures of one drive, for versions that have to find it: one place for all of them."""

from collections import deque
from collections.abc import Iterable
from threading import Lock

import numpy as np

from recording import detection
from recording.exceptions import InputError
from recording.face import Choice
from recording.layouts import Layout
from registry.crop import Crop
from serving.crops import Say, say_two_faces, unsaid

LEAST_SEEN = 3
"""Of given pictures so many (of fewer, all) have to agree; in a stream, which cannot wait, one is enough at first."""
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
                face = _chosen(self._promised, self._looks, picture, least=1).face
                if face is not None:
                    self._settled = self._promised.settled(face)
            if self._settled.rectangle is None:
                raise InputError(
                    f"{name}: no face found so far, where this version needs one; show it from the front, or give the "
                    "face alone (crop=face)"
                )
            return self._settled


def settle(promised: Crop, views: Iterable[np.ndarray], name: str, say: Say = unsaid) -> Crop:
    """A contract's promise for pictures of one drive, of which ``views`` are some driver views (h, w, 3).

    They are looked at only where the face has to be found. Raises :class:`InputError` when they do not agree on one;
    ``name`` is what messages call them; ``say`` hears of a second face.
    """
    if not promised.detected:
        return promised
    looks: deque[np.ndarray] = deque()
    choice = Choice(None)
    for view in views:
        choice = _chosen(promised, looks, view, least=LEAST_SEEN)
    if choice.face is None:
        raise InputError(
            f"{name}: the {len(looks)} pictures looked at do not agree on a face, and this version needs one; give "
            "pictures of one drive that show it, or the face alone (--crop face; in the app, “the face alone”)"
        )
    say_two_faces(choice, name, say)
    return promised.settled(choice.face)


def _chosen(promised: Crop, looks: deque[np.ndarray], view: np.ndarray, least: int) -> Choice:
    """What ``looks`` agree on, the one at ``view``, which is added, included."""
    looks.append(detection.detect(np.ascontiguousarray(view)))
    height, width = view.shape[:2]
    return detection.choose(looks, width, height, least, promised.room)
