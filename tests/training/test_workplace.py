"""``work=`` is tried before anything is computed."""

import errno
import fcntl
import os

import pytest

from recording.exceptions import InputError
from training import cli, workplace


def test_a_folder_that_will_do_is_made_and_left_empty(tmp_path):
    workplace.check(tmp_path / "new" / "data")
    assert list((tmp_path / "new" / "data").iterdir()) == []


def test_work_that_is_a_file_is_refused_before_anything_is_read(tracking, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"work='.*file': cannot make the folder there"):
        cli.main(["main", "--work", str(tmp_path / "file"), "--data", str(tmp_path / "nowhere")])


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(file, kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match=r"cannot lock a file there \(No locks available\); give a folder on a local"):
        workplace.check(tmp_path)


def test_a_file_system_on_which_sqlite_fails_is_named(tmp_path, monkeypatch):
    import sqlite3

    def refuse(path):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(InputError, match=r"cannot use an SQLite database there \(disk I/O error\)"):
        workplace.check(tmp_path)
