"""The sentences: twice the samples, the target, and when they keep quiet."""

import pytest
from curves import FALLING, SIZES, exact

from training.measuring.learning_curve import forecast
from training.measuring.outlook import Circumstances, sentences

HELPS = {n: 40 * n**-0.5 for n in SIZES}
FLOOR = {n: 3 + 60 / n for n in SIZES}


def said(
    errors, *, spacing="even", usable=0, rival_deg=9.0, target_deg=0.0, frozen=False, several=False, **options
) -> str:
    about = Circumstances(spacing, usable, "constant", rival_deg, target_deg, frozen, several)
    return " ".join(sentences(forecast(exact(errors, repeats=3, **options)), about))


def test_more_data_that_helps_is_said_in_degrees():
    line = said(HELPS)
    assert line.startswith(
        "Twice the samples of this drive (2,000 samples) would bring the 3-D error from 1.26° to 0.89°"
    )
    assert "29%" in line
    assert said(HELPS, spacing="first").startswith("A drive twice as long (2,000 samples)")
    assert "has 1,120 usable rows: that many samples need a longer one" in said(HELPS, usable=1120)
    assert "usable" not in said(HELPS, usable=23_000)


def test_of_several_drives_no_single_one_is_spoken():
    assert said(HELPS, several=True).startswith("Twice the samples of these drives (2,000 samples)")
    line = said(FLOOR, several=True, target_deg=2.0)
    assert line.startswith("More of the same drives will not help: twice the samples of these drives")
    assert "More of the same drives does not reach a 3-D error of 2°" in line


def test_a_floor_is_named_with_what_would_help():
    line = said(FLOOR)
    assert line.startswith("More of the same drive will not help")
    assert "another drive" in line
    assert "freeze=" not in line
    # A head on a frozen backbone reaches the backbone's floor, not the drive's.
    assert "What would: more of the network trained (freeze=layer3 or none)" in said(FLOOR, frozen=True)


@pytest.mark.parametrize(
    ("errors", "target", "says"),
    [
        (HELPS, 2.0, "500 samples were enough for a 3-D error of 2°"),
        (HELPS, 1.0, "A 3-D error of 1° takes about 1,600 ["),
        (HELPS, 0.7, "–more than 4,000] samples"),
        (HELPS, 0.2, "More of the same drive does not reach a 3-D error of 0.2°"),
        (FLOOR, 2.0, "More of the same drive does not reach a 3-D error of 2°"),
        (FALLING, 0.5, "does not reach a 3-D error of 0.5°"),
    ],
)
def test_the_target_is_reached_forecast_or_out_of_reach(errors, target, says):
    assert says in said(errors, target_deg=target)


def test_what_cannot_be_told_is_not_told_for_a_target_either():
    line = said({100: 8.0, 800: 4.0}, target_deg=1)
    assert line.startswith("Cannot tell what more samples would bring: 2 sizes were measured")
    assert "cannot be told either" in line


def test_a_curve_that_no_baseline_is_below_says_so():
    assert "No size is better than the constant (1.00°)" in said(FLOOR, rival_deg=1.0)
    assert "No size" not in said(FLOOR, rival_deg=9.0)
