"""What a report puts together for its figures."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recording import arrows
from recording.face import Face
from recording.layouts import View
from training.reporting import figures, report
from training.reporting.report import Report


def test_on_the_scenario_sheet_gaze_begins_in_the_face_of_each_drive(monkeypatch: pytest.MonkeyPatch) -> None:
    """It began on foreheads, wherever the face was not in the middle of the view."""
    face, begun = Face(320, 360, View(40, 120, 200, 200)), []
    monkeypatch.setattr(figures, "scenario_sheet", lambda pictures, eyes, *_: begun.extend(eyes))
    monkeypatch.setattr(report, "driver_picture", lambda recordings, index: None)
    columns = ["model_azimuth_error_deg", "model_elevation_error_deg"]
    given = SimpleNamespace(
        recordings=SimpleNamespace(faces=(face, None), drive_index=np.array([0, 0, 1, 1])),
        split=SimpleNamespace(test=np.array([1, 3]), scenario=np.array([1, 1, 2, 2])),
        scenarios=lambda: pd.DataFrame({"scenario": [1, 2], columns[0]: 1.0, columns[1]: 1.0}),
        labels_deg=np.zeros((2, 2)),
        answers={"model": np.zeros((2, 2))},
    )
    Report._scenario_sheet(given)  # type: ignore[arg-type]
    assert begun == [face.share(*arrows.EYES), arrows.EYES]
