"""What `python -m serving app` starts."""

import os
from pathlib import Path

import pytest

from recording.exceptions import InputError
from serving import app_command


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    """The command line that takes the place of the process."""
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, command, environment: seen.append(command))
    app_command.main(list(arguments))
    return seen[0]


def prepared(folder: Path, age_s: int) -> Path:
    folder.mkdir(parents=True)
    note = folder / "drive.json"
    note.write_text("{}")
    os.utime(note, (1_000_000_000 - age_s,) * 2)
    return folder


def test_the_app_opens_with_what_was_prepared_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--data" not in started(monkeypatch)
    prepared(tmp_path / "data/prepared/b", age_s=60)
    newest = prepared(tmp_path / "data/prepared/a", age_s=0)
    command = started(monkeypatch)
    assert command[command.index("--data") + 1] == str(newest)


def test_a_folder_that_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path / "data/prepared/a", age_s=0)
    (tmp_path / "mine").mkdir()
    command = started(monkeypatch, "--data", "mine")
    assert command[command.index("--data") + 1] == str(tmp_path / "mine")
    with pytest.raises(InputError, match="--data nowhere: no such folder"):
        started(monkeypatch, "--data", "nowhere")
    with pytest.raises(InputError, match=r"--data x+: no such folder"):
        started(monkeypatch, "--data", "x" * 300)
