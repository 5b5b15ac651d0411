"""The report's page about the labels: loud where they are out of step or in another convention, with every count."""

import numpy as np

from training.measuring.synchrony import Sign, Synchrony
from training.reporting import figures, labels
from training.reporting.labels import DriveLabels


def sign(name: str, offset: float) -> Sign:
    offsets = np.arange(-30, 31)
    return Sign(name, offsets, np.exp(-((offsets - offset) ** 2) / 4), offset, offset - 0.2, offset + 0.2, 7.0, 10.0)


def drive(offset: float, differs: str = "") -> DriveLabels:
    signs = (sign("blinks", offset), sign("eyes", offset + 1))
    places = tuple((40.0 * k, offset) for k in range(10))
    found = Synchrony(signs, True, offset, offset - 0.2, offset + 0.2, places)
    return DriveLabels("<mine>", {"usable": 1100, "beside a blink": 40}, 30.0, found, differs)


def test_what_is_wrong_is_loud_and_every_reason_is_counted():
    page = labels.section((drive(5.0), drive(0.1), drive(0.0, "azimuth looks FLIPPED")))
    assert page.count("class='verdict bad'") == 2
    assert "OUT OF STEP: the labels are late by +5.0 [+4.8, +5.2] frames" in page
    assert "NOT THOSE OF THE OTHERS: azimuth looks FLIPPED" in page
    assert page.count("<td>beside a blink</td><td>40</td>") == 3
    assert "<mine>" not in page


def test_the_offset_is_a_metric_only_where_signs_agree():
    assert drive(5.0).metrics()["offset_frames"] == 5.0
    assert DriveLabels("mine", {}, 30.0, Synchrony((sign("eyes", 5.0),))).metrics() == {}


def test_every_sign_has_its_curve_and_every_part_of_the_drive_its_offset():
    figure = labels.figure((drive(5.0), DriveLabels("bare", {}, 30.0, Synchrony(()))))
    curves, places, empty, _ = figure.axes
    said = [text.get_text() for text in curves.get_legend().get_texts()]
    assert said == [labels.MEANINGS["blinks"], labels.MEANINGS["eyes"]]
    assert len(places.lines[1].get_xdata()) == 10
    assert empty.get_legend() is None
    figures.close()
