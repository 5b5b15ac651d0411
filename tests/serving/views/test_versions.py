"""The page *Versions*."""

from datetime import UTC, datetime, timedelta

from registry import history, stages, versions


def test_the_table_and_the_history_show_times_in_one_zone(make_version, opened, elsewhere: None) -> None:
    make_version()
    stages.promote("gaze-tracker", 1, force=True, why="the first")
    page = opened("versions", production=1)
    assert not page.exception
    tables = [frame.value for frame in page.dataframe]
    (created,) = (table["created"] for table in tables if "created" in table)
    (when,) = (table["when"] for table in tables if "when" in table)
    (version,), (line,) = versions.every("gaze-tracker"), history.read("gaze-tracker")
    assert created.tolist() == [there(version.created)]
    assert when.tolist() == [there(datetime.fromisoformat(line.time))]


def there(moment: datetime) -> str:
    """As the page is to show it, three hours ahead of UTC."""
    return f"{moment.astimezone(UTC) + timedelta(hours=3):%Y-%m-%d %H:%M:%S} ABC"
