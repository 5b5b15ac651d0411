"""Being told to end, for every command: what is half written is removed, whatever the signal and the moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry import interruption

ROOT = Path(__file__).parents[2]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
WRITES = """
import os, signal, sys, threading, time
from pathlib import Path
from recording import files
from registry import command_line
command_line.GRACE_S = 1.0

class Slow:
    def __del__(self):
        time.sleep(1)  # what is raised in here, Python only prints

def main(argv):
    with files.writing_text(Path("table.csv")) as table:
        table.write("half")
        print("writing", flush=True)
        {body}
    return 0

command_line.leave(main)
"""


def _as_at_a_terminal() -> None:
    """Whoever runs the tests in the background has switched these off, which children inherit."""
    for number in interruption.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def started(folder: Path, *command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_at_a_terminal,
    )


def writing(folder: Path, body: str) -> subprocess.Popen:
    process = started(folder, "-c", WRITES.format(body=body))
    assert process.stdout.readline() == "writing\n", process.stderr.read()
    return process


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_every_signal_leaves_nothing_half_written_and_its_own_status(tmp_path: Path, number: signal.Signals) -> None:
    with writing(tmp_path, "time.sleep(60)") as process:
        assert list(tmp_path.glob(".table.csv.*.part"))
        process.send_signal(number)
        assert process.wait(60) == STATUS[number]
        assert process.stderr.read() == "interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_sent_twice_at_once_does_not_cut_off_the_end(tmp_path: Path) -> None:
    """As `timeout` does, to the command and to its group."""
    body = """
        try:
            print("inside", flush=True)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            print("in order", flush=True)"""
    with writing(tmp_path, body) as process:
        assert process.stdout.readline() == "inside\n"
        process.terminate()
        assert process.wait(60) == 143
        assert process.stdout.read() == "in order\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "after"), [(signal.SIGTERM, interruption.SENT_TWICE_S + 1), (signal.SIGINT, 0)])
def test_another_signal_ends_a_command_that_does_not_end(tmp_path: Path, number: signal.Signals, after: float) -> None:
    body = """
        try:
            print("inside", flush=True)
            time.sleep(60)
        finally:
            print("ending", flush=True)
            time.sleep(60)"""
    with writing(tmp_path, body) as process:
        assert process.stdout.readline() == "inside\n"
        process.send_signal(number)
        assert process.stdout.readline() == "ending\n"
        time.sleep(after)
        process.send_signal(number)
        assert process.wait(30) == STATUS[number]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        "import slow; time.sleep(60)",
        "Slow(); time.sleep(60)",
        "threading.Thread(target=time.sleep, args=[60]).start(); time.sleep(60)",
    ],
    ids=["while a module is imported", "while an object goes away", "beside a thread that does not end"],
)
def test_a_signal_is_not_lost_wherever_it_comes(tmp_path: Path, body: str) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    modules.joinpath("slow.py").write_text(
        "import time\ntry:\n    time.sleep(1)\nexcept BaseException:\n    raise ImportError('initialization failed')\n"
    )
    (tmp_path / "work").mkdir()
    with writing(tmp_path / "work", f"sys.path.append({str(modules)!r}); {body}") as process:
        time.sleep(0.3)
        process.terminate()
        assert process.wait(30) == 143
        assert process.stderr.read() == "interrupted\n"
    assert list((tmp_path / "work").iterdir()) == []


def test_what_was_switched_off_stays_off(tmp_path: Path) -> None:
    """`nohup python -m serving predict …` goes on when the terminal is closed."""
    body = "os.kill(os.getpid(), signal.SIGHUP)"
    done = subprocess.run(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", WRITES.format(body=body)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "table.csv").read_text() == "half"
