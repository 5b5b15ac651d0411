"""The key of the driver crops in the cache."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from recording.face import Choice, Face
from recording.layouts import View
from recording.prepared import Samples
from recording.recordings import Recordings
from training.learning import pictures

ONE = Samples(Path("x"), "x", pd.DataFrame({"frame": [0]}), 30.0, "d", "d", rendered=False, layout=None)


def key(*faces: Face | None) -> dict:
    return pictures.key(Recordings(tuple(replace(ONE, chosen=Choice(face)) for face in faces)))


def test_each_face_rectangle_has_its_own_crops_and_none_those_of_before() -> None:
    first, second = (Face(950, 1068, View(x, 250, 420, 420)) for x in (300, 301))
    assert key(None) == pictures.key(Recordings((ONE,))) == {"pictures": "d", "size": 224}
    keys = [key(None), key(first), key(second), key(first, second), key(second, first)]
    assert all(keys.count(one) == 1 for one in keys)
