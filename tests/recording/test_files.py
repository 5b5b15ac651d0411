"""A file is there whole or not at all, whoever writes it at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recording import files, frames, labels
from recording.exceptions import InputError

ROOT = Path(__file__).parents[2]


def test_bytes_and_text_are_written_as_they_are(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a.bin", b"\r\n\0")
    files.write_text(tmp_path / "b.txt", "Grad °\r\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\r\n\0"
    assert (tmp_path / "b.txt").read_bytes() == "Grad °\r\n".encode()
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", "b.txt"}


# Half-written and then stopped, as by a broken disk or Ctrl-C: the old file stays and nothing lies about.
@pytest.mark.parametrize("reason", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_what_stops_the_writing_leaves_the_old_file(tmp_path: Path, reason: BaseException) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")

    def stopped(unfinished: Path) -> None:
        unfinished.write_text("ne")
        raise reason

    with pytest.raises(type(reason)):
        files.write(path, stopped)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["kept.txt"]


def test_a_text_is_there_when_its_last_line_is(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("old")
    with files.writing_text(path) as file:
        file.write("one\r\n")
        assert path.read_text() == "old"
        file.write("Grad °\r\n")
    assert path.read_bytes() == "one\r\nGrad °\r\n".encode()
    assert [one.name for one in tmp_path.iterdir()] == ["answers.csv"]


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with files.writing_text(tmp_path / "link") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with files.writing_text(tmp_path / "pipe") as file:
        file.write("line\n")
    assert os.read(reader, 100) == b"line\n"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("where", ["folder", "missing/answers"])
def test_where_no_text_can_be_written_is_said_before_the_first_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{where}: cannot be written"), files.writing_text(tmp_path / where):
        pytest.fail("the work has begun")


FULL = [
    OSError(28, "No space left on device"),
    RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
    RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/0"),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 768 vs 662"),
]


@pytest.mark.parametrize("error", FULL)
def test_a_full_disk_is_one_line_that_names_the_file_whoever_writes_it(tmp_path: Path, error: Exception) -> None:
    def fill_up(unfinished: Path) -> None:
        unfinished.write_text("ne")
        raise error

    with pytest.raises(files.DiskFull, match=r"disk full: cannot write .*base\.safetensors; free some .*work="):
        files.write(tmp_path / "base.safetensors", fill_up)
    assert list(tmp_path.iterdir()) == []


# Eight writers that shared one temporary name would rename each other's halves away.
def test_processes_that_write_the_same_file_leave_one_whole_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from recording import files\n"
        "for _ in range(100): files.write_bytes(Path(sys.argv[1]), sys.argv[2].encode() * 50_000)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "shared"), letter], cwd=ROOT) for letter in "abcd"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "shared").exists():
            content = (tmp_path / "shared").read_bytes()
            assert len(content) == 50_000
            seen |= set(content)
            assert len(set(content)) == 1
    assert [writer.returncode for writer in writers] == [0] * 4
    assert seen
    assert [one.name for one in tmp_path.iterdir()] == ["shared"]


def test_a_name_that_is_no_utf8_is_refused_in_one_line(tmp_path: Path) -> None:
    # As old disks have them; drive.json and the database could not hold it.
    odd = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    files.check_name(tmp_path / "café 😀.mp4", "video")
    with pytest.raises(InputError, match=r"^video .*caf\\udce9\.mp4: its name is no UTF-8; rename it$"):
        files.check_name(odd, "video")
    odd.touch()
    for read in (frames.scan, labels.read):
        with pytest.raises(InputError, match="its name is no UTF-8"):
            read(odd)


# Legal: 250 bytes. The temporary name beside it was longer than a name may be.
@pytest.mark.parametrize("name", ["n" * 246 + ".csv", "ü" * 123 + ".csv"])
def test_a_file_may_have_the_longest_name(name: str, tmp_path: Path) -> None:
    with files.writing_text(tmp_path / name) as one, files.writing_text(tmp_path / name.replace(".csv", ".txt")) as two:
        one.write("1")
        two.write("2")
    assert (tmp_path / name).read_text() == "1"
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match="what stopped it"), files.replacing(tmp_path / ("x" * 300)):
        raise ValueError("what stopped it")


def test_a_leading_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/driver")
    typed = ["~/data", "~", "./~", "a~b", "~nobody-of-that-name/x", "", "models:/gaze-tracker@champion"]
    meant = ["/home/driver/data", "/home/driver", "./~", "a~b", "~nobody-of-that-name/x", "", typed[-1]]
    assert list(map(files.with_home, typed)) == meant
    assert files.given_path("~/a.csv") == Path("/home/driver/a.csv")


@pytest.mark.parametrize("made", ["link", "link/inside/it"])
def test_a_link_that_leads_nowhere_is_named_with_what_it_leads_to(made: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "not" / "mounted")
    with pytest.raises(InputError, match=rf"^{tmp_path}/link leads to {tmp_path}/not/mounted, which is not there "):
        files.check_links(tmp_path / made)
    (tmp_path / "not" / "mounted").mkdir(parents=True)
    files.check_links(tmp_path / made)
