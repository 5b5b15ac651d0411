"""Reading, extraction and the server as they are, against another commit: what a change costs.

    python -m benchmarks.against COMMIT

checks that commit out into a temporary folder, lets both take turns in one session, and prints processor seconds
(user and system) and their ratio in each pair of turns, for

- **reading**: index of a 1504×540 H.264 video of 3,000 frames, and decoding of 500 samples of it;
- **prepare**: the command, start and all;
- **server**: a picture sent to ``/v1/gaze``, of a version that each side registered itself; both servers stay up.

Each side runs its own code: the commit must have ``benchmarks.serving`` and the command ``prepare``. The first run
renders the sample drive for each side.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import extraction, serving
from benchmarks.machine import machine

ROOT = Path(__file__).parent.parent
FRAMES, SAMPLES, SPACING = 3000, 500, 30
READ = """
import sys, numpy as np
from pathlib import Path
try:
    from recording import decoding, frames
except ImportError:  # before there were rooms
    from training import frames
    decoding = frames
path, count, samples = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
wanted = np.linspace(0, count - 1, samples).round().astype(int).tolist()
for _ in range(3):
    decoding.read(path, frames.scan(path), wanted, lambda *_: None)
"""
REGISTER = """
import sys
from pathlib import Path
from benchmarks import serving
with serving._registry(Path(sys.argv[1])) as folder:
    for number, jpeg in enumerate(serving._register(folder, Path(sys.argv[2]))):
        (folder / f"sent-{number}.jpg").write_bytes(jpeg)
"""
Turn = Callable[[], float]
"""One turn of one side: its processor seconds."""


def main(argv: list[str] | None = None) -> int:
    """Check out, let the sides take turns, print the table."""
    given = _arguments(argv)
    given.work.mkdir(parents=True, exist_ok=True)
    video = given.work / f"drive-{FRAMES}-{SPACING}.mp4"
    table = extraction.labels(given.work / f"labels-{FRAMES}.csv", FRAMES)
    if not video.exists():
        extraction.render(video, FRAMES, SPACING)
    print(f"against {given.commit}, {given.rounds} pairs of turns; {machine()}\n")
    print("| | before | now | now to before, median | of pairs |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="against-") as scratch, ExitStack() as opened:
        folder = Path(scratch)
        trees = {"before": opened.enter_context(_checked_out(given.commit, folder / "tree")), "now": ROOT}
        if "reading" in given.parts:
            _print("reading", {side: _reading(tree, video) for side, tree in trees.items()}, given.rounds)
        if "prepare" in given.parts:
            turns = {side: _prepare(tree, video, table, folder / side) for side, tree in trees.items()}
            _print("prepare", turns, given.rounds)
        if "server" in given.parts:
            servers = {side: _server(tree, folder / f"server-{side}", given, opened) for side, tree in trees.items()}
            _print("server, 1,000 pictures", servers, given.rounds)
    return 0


@contextmanager
def _checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """A commit's files, while the block lasts."""
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(folder), commit], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, check=True)


def _print(what: str, turns: dict[str, Turn], rounds: int) -> None:
    """One row of the table; the sides take turns, the first turn of each is not counted."""
    for turn in turns.values():
        turn()
    pairs = [{side: turn() for side, turn in turns.items()} for _ in range(rounds)]
    ratios = sorted(pair["now"] / pair["before"] for pair in pairs)
    before, now = (statistics.median(pair[side] for pair in pairs) for side in ("before", "now"))
    spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
    print(f"| {what} | {before:.2f} s | {now:.2f} s | {statistics.median(ratios):.3f} | {spread} |", flush=True)


def _spent(tree: Path, *arguments: object) -> float:
    """Processor seconds of ``python ARGUMENTS`` with the code of ``tree``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _python(tree, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _python(tree: Path, *arguments: object) -> None:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:300]} failed in {tree}:\n{done.stderr[-2000:]}")


def _environment(tree: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(tree)}


def _reading(tree: Path, video: Path) -> Turn:
    return lambda: _spent(tree, "-c", READ, video.resolve(), FRAMES, SAMPLES)


def _prepare(tree: Path, video: Path, table: Path, out: Path) -> Turn:
    def turn() -> float:
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            where = ("--video", video.resolve(), "--labels", table.resolve(), "--out", Path(folder, "out"))
            return _spent(tree, "-m", "training", "prepare", *where, "--samples", SAMPLES)

    return turn


def _server(tree: Path, folder: Path, given: argparse.Namespace, opened: ExitStack) -> Turn:
    """Register a version with the code of ``tree``, start its server, and send it pictures in each turn."""
    folder.mkdir()
    _python(tree, "-c", REGISTER, folder, (given.work / folder.name).resolve())
    uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    command = ["serving", "--cache", str(folder / "serving-cache")]
    server = opened.enter_context(serving.process(folder, command, "/readyz", _environment(tree) | uri))
    sent = sorted(folder.glob("sent-*.jpg"))

    def turn() -> float:
        began = _processor_seconds(server.pid)
        with serving.load(folder, server.port, "/v1/gaze", "image/jpeg", sent, 4, given.seconds) as answers:
            pass
        refused = [answer.text for answer in answers if answer.status != 200]
        if refused:
            raise SystemExit(f"the server of {tree} refuses: {json.dumps(refused[0])[:300]}")
        return 1000 * (_processor_seconds(server.pid) - began) / len(answers)

    return turn


def _processor_seconds(pid: int) -> float:
    """What a process has spent so far (proc(5), stat: fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__.split("\n\n")[0])
    parser.add_argument("commit", help="what to compare with")
    parts = ("reading", "prepare", "server")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="what to compare (everything)")
    parser.add_argument("--rounds", type=int, default=9, help="pairs of turns (9)")
    parser.add_argument("--seconds", type=float, default=8, help="length of a server's turn (8)")
    parser.add_argument("--work", type=Path, default=Path("data/against"), help="keeps what is rendered (data/against)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
