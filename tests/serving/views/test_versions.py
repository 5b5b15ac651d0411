"""The page *Versions*."""

import pandas as pd

from registry import stages


def test_the_table_and_the_history_show_times_in_one_zone(make_version, opened, elsewhere: None) -> None:
    make_version()
    stages.promote("gaze-tracker", 1, force=True, why="the first")
    page = opened("versions", production=1)
    assert not page.exception
    tables = [frame.value for frame in page.dataframe]
    (created,) = (table["created"] for table in tables if "created" in table)
    (when,) = (table["when"] for table in tables if "when" in table)
    assert created.str.endswith(" ABC").all()
    assert when.str.endswith(" ABC").all()
    apart = pd.to_datetime(when.str[:19]) - pd.to_datetime(created.str[:19])
    # Another zone is hours away; a machine that was suspended in between, some minutes.
    assert apart.between(pd.Timedelta(0), pd.Timedelta(minutes=55)).all()
