"""The report's page: its tables for people."""

import re
from types import SimpleNamespace

import pandas as pd

from training.measuring.errors import QUANTITIES
from training.reporting import page


def test_a_scenario_without_samples_has_dashes_and_the_others_three_angles_a_cell():
    table = pd.DataFrame(
        [
            {"scenario": 1, "samples": 4, "frames": "0–9", "gaze": "ahead"}
            | {f"model_{quantity}_error_deg": value for quantity, value in zip(QUANTITIES, (1.04, 2, 3), strict=True)},
            {"scenario": 2, "samples": 0, "frames": "", "gaze": "no held-out samples"},
        ]
    )
    shown = page._scenarios_table(SimpleNamespace(scenarios=lambda: table, answers={"model": None}))
    cells = re.findall(r"<t[hd]>(.*?)</t[hd]>", shown.replace(' class="dataframe"', ""))
    assert cells[-10:] == [
        *("1", "4", "0–9", "ahead"),
        "1.0 / 2.0 / 3.0",
        *("2", "0", "", "no held-out samples"),
        "– / – / –",
    ]
