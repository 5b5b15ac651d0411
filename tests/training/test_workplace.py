"""``work=`` is tried before anything is computed."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

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


@pytest.mark.parametrize("shut", ["studies", "cache", "cache/a.lock", "prepared", "studies/one"])
def test_what_an_earlier_job_left_unwritable_is_named_before_anything_is_computed(shut, tmp_path, monkeypatch):
    for name in ("studies/one", "cache", "prepared"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cache" / "a.lock").touch()
    access, written = os.access, ("cache", "prepared", "studies/one" if shut == "studies/one" else "studies/new")
    workplace.check(tmp_path, *written)
    # Root may write to whatever its mode says.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / shut and access(path, mode))
    with pytest.raises(InputError, match=rf"{shut}: cannot be written .*chown .* or choose another work="):
        workplace.check(tmp_path, *written)
    workplace.check(tmp_path, "elsewhere")


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match="cache: cannot be written"):
        workplace.check(tmp_path, "cache")


def test_the_main_job_says_so_before_it_prepares(tracking, tmp_path, monkeypatch):
    (tmp_path / "work" / "prepared").mkdir(parents=True)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "prepared" and access(path, mode))
    with pytest.raises(InputError, match="prepared: cannot be written"):
        cli.main(["main", "--work", str(tmp_path / "work")])


def test_what_another_job_removes_meanwhile_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = tmp_path / "cache" / "activations.part"
    unfinished.parent.mkdir()
    unfinished.touch()
    really = os.access

    def renamed_just_now(path: Path, mode: int) -> bool:
        if path == unfinished:
            unfinished.unlink()
        return really(path, mode)

    monkeypatch.setattr(os, "access", renamed_just_now)
    workplace.check(tmp_path, "cache")
    assert not unfinished.exists()


@pytest.mark.parametrize("name", ["", "cache", "studies", "prepared"])
def test_a_link_to_a_disk_that_is_not_mounted_is_named(name: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    if name:
        work.mkdir()
    (work / name).symlink_to("/mnt/scratch-not-there/x")
    with pytest.raises(InputError, match=rf"work{'/' * bool(name)}{name} leads to /mnt/scratch-not-there/x, which"):
        workplace.check(work, "cache", "prepared", "studies/new")


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path, as_anybody: Callable) -> None:
    (tmp_path / "studies" / "one").mkdir(parents=True)
    (tmp_path / "studies").chmod(0)
    code = (
        "import sys; from pathlib import Path; from training import workplace\n"
        "try: workplace.check(Path(sys.argv[1]), 'studies/one')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = as_anybody(code, str(tmp_path))
    (tmp_path / "studies").chmod(0o700)
    assert said.startswith(f"InputError {tmp_path}/studies: cannot be written")


def test_the_advised_command_takes_a_path_with_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shut, access = tmp_path / "my drive" / "cache", os.access
    shut.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: path != shut and access(path, mode))
    with pytest.raises(InputError, match=rf"`sudo chown -R \$\(id -u\) '{tmp_path}/my drive'`"):
        workplace.check(tmp_path / "my drive", "cache")
