"""Preparing the drives of a list: side by side as alone, and a bad one named, counted and left out."""

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from recording import drive_list, fleet, preparation
from recording.drive import Source
from recording.exceptions import InputError
from recording.fleet import Task
from recording.layouts import View
from tests import recordings as small


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    """Three drives of twelve frames: the second has labels that no drive can be made of."""
    return [Task(entry, tmp_path / "work", samples=5, threads=1) for entry in small.listed(tmp_path)]


def test_drives_are_prepared_side_by_side_in_the_lists_order_and_a_bad_one_is_left_out(tasks, caplog):
    with caplog.at_level(logging.WARNING):
        found = fleet.prepare(tasks, fleet.SKIP, processes=2)
    assert [outcome.entry.name for outcome in found] == ["a-v", "b-v", "c-v"]
    assert [outcome.samples is None for outcome in found] == [False, True, False]
    assert "no overlap" in found[1].error
    assert [(one.samples.name, one.samples.driver, len(one.samples.table)) for one in found[::2]] == [
        ("a-v", "A", 5),
        ("c-v", "C", 5),
    ]
    assert "BAD DRIVE, left out: drive 'b-v' (line 3 of the list): no overlap" in caplog.text
    assert "1 of 3 drives are left out: b-v" in caplog.text
    # The same in this process finds what the others made: nothing is written again.
    again = fleet.prepare_one(tasks[0])
    assert again.samples.digest == found[0].samples.digest
    source = Source(tasks[0].entry.video, tasks[0].entry.labels, "driver")
    assert again.samples.folder == preparation.place(tasks[0].work, source, 5)


def test_a_bad_drive_stops_the_job_with_its_line(tasks):
    with pytest.raises(InputError) as error:
        fleet.prepare(tasks, fleet.STOP, processes=1)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("drive 'b-v' (line 3 of the list): no overlap")
    assert str(error.value).endswith("on_bad_drive=skip goes on without it")
    with pytest.raises(InputError, match="none of the 1 drives of the list can be used; the first: no overlap"):
        fleet.prepare(tasks[1:2], fleet.SKIP, processes=1)


def test_a_process_that_is_killed_is_a_bad_drive_with_the_signal(tasks):
    """Out of memory: the kernel kills one, and the others must not wait for it for ever."""
    doomed = replace(tasks[0], entry=_Deadly(**vars(tasks[0].entry)))
    found = dict(fleet._side_by_side([doomed, tasks[2]], 2))
    assert found[0].error == "its preparation ended with signal SIGKILL; the same command continues it"
    assert len(found[1].samples.table) == 5


class _Deadly(drive_list.Entry):
    """Kills the process that it is sent to, as it is unpacked there."""

    def __reduce__(self):
        return os.kill, (_Here(), signal.SIGKILL)


class _Here:
    """The number of the process in which it is unpacked."""

    def __reduce__(self):
        return os.getpid, ()


def test_a_folder_that_is_prepared_already_is_taken_as_it_is_and_says_what_was_left_out(tasks, tmp_path):
    made = fleet.prepare_one(tasks[0]).samples.folder
    listed = tmp_path / "data.csv"
    listed.write_text(f"data,driver,name\n{made},Anna,mine\nb,Ben,empty\n")
    first, second = (fleet.prepare_one(Task(one, tmp_path / "work", 5)) for one in drive_list.read(listed))
    assert (first.samples.folder, first.samples.name, first.samples.driver) == (made, "mine", "Anna")
    assert fleet.left_out(first.samples) == {}
    assert second.error.startswith("no samples found in")
    # It is cut to the rectangle of its row, and one that does not fit is the drive's fault, not the job's.
    listed.write_text(f'data,driver,face\n{made},Anna,"2,4,40,30"\n')
    (first,) = (fleet.prepare_one(Task(one, tmp_path / "work", 5)) for one in drive_list.read(listed))
    assert first.samples.chosen.face.view == View(2, 4, 40, 30)
    listed.write_text(f'data,driver,face\n{made},Anna,"2,4,9999,30"\n')
    (first,) = (fleet.prepare_one(Task(one, tmp_path / "work", 5)) for one in drive_list.read(listed))
    assert "2,4,9999,30" in first.error
    # A folder that says what it left out is believed.
    labels = tasks[2].entry.labels
    labels.write_text(labels.read_text() + "10,,\n")
    assert fleet.left_out(fleet.prepare_one(tasks[2]).samples) == {"malformed line": 1}
