"""The server under load: promotions while it answers, and its speed beside MLflow's own server.

    python -m benchmarks.serving

registers two versions of one network (the second answers 5° more in azimuth, so that every answer tells which
version gave it), starts ``python -m serving``, and measures two claims:

1. **Following**: 16 connections send pictures for 60 s, or longer if the promotions take longer, while the two versions
   are promoted in turn, ten times, each as soon as the server has followed the one before. Counted
   are requests that failed for any reason, and answers that are not those of the version that they name.
2. **Speed**: the same pictures to ``mlflow models serve`` of the same version and to this server, in turn, several
   rounds: one picture a request, and 16. MLflow's server gets its JSON table; this one gets the same table on
   ``/invocations``, and the pictures as they are on ``/v1/gaze``.

The load comes from ``benchmarks.client`` in a process of its own on the same cores, which costs both servers alike.
"""

import argparse
import base64
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch

from benchmarks.machine import machine
from recording import preparation, recordings
from recording.angles import absolute_errors
from recording.drive import Source
from registry import contract, registration, stages
from registry.holdout import Holdout
from registry.network import GazeNetwork
from training.learning import model
from training.measuring import errors, splits
from training.reporting import package
from training.sample import sample_drive

ROOT = Path(__file__).parent.parent
NAME = "gaze-tracker"
PICTURES = 32
SHIFT_DEG = 5.0
SAME_DEG = contract.GOLDEN_TOLERANCE_DEG
"""The server's precision may move an answer by this much, the other version moves it by ``SHIFT_DEG``."""


@dataclass(frozen=True)
class Answer:
    """One request's fate: ``seconds`` it took, which body it carried, status (0: the connection broke), text."""

    sent: float
    seconds: float
    body: int
    status: int
    text: str


@dataclass(frozen=True)
class Server:
    """A running server process."""

    port: int
    pid: int

    def memory(self, what: str) -> str:
        """Resident memory now (``VmRSS``) or at most so far (``VmHWM``)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return f"{int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024:.0f} MiB"


def main() -> None:
    given = _arguments()
    work = Path(given.work).resolve()
    print(f"machine: {machine()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch, _registry(Path(scratch)) as folder:
        jpegs = _register(folder, work)
        for precision in ("auto", "float32"):
            began = time.monotonic()
            with _server(folder, precision) as ours:
                ready = time.monotonic() - began
                print(f"# `--precision {precision}`: answers in {_state(ours.port)['precision']}\n")
                if precision == "auto":
                    _following(ours.port, folder, jpegs, given)
                with _mlflow_server(folder) as theirs:
                    _speed(ours.port, theirs.port, folder, jpegs, given)
                print(f"\nready after {ready:.1f} s; memory {ours.memory('VmRSS')}, at most {ours.memory('VmHWM')}\n")


# --- two versions ------------------------------------------------------------------------------------------------


@contextmanager
def _registry(folder: Path) -> Iterator[Path]:
    """A tracking database of its own, for this process and for those that it starts."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    mlflow.create_experiment("benchmark", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("benchmark")
    yield folder


def _register(folder: Path, work: Path) -> list[bytes]:
    """Register the lab base and its shifted twin as versions 1 and 2; the driver pictures to send."""
    video, labels = sample_drive.render(work / "sample-drive")
    place = preparation.prepare(Source(video, labels), 500, work / "prepared" / "sample-drive-500")
    data = recordings.load((place,))
    split = splits.of("blocks", data)
    kept = package.held_out(data, split)
    for number, shift in ((1, 0.0), (2, SHIFT_DEG)):
        network = model.load(sample_drive.BASE_CHECKPOINT)
        with torch.no_grad():
            network.get_parameter("fc.3.bias")[1] += np.radians(shift)
        _register_one(folder / f"package-{number}", network, kept)
    stages.promote(NAME, 1, force=True, why="benchmark")
    chosen = np.linspace(0, len(data) - 1, PICTURES).round().astype(int)
    return [data.driver_path(int(index)).read_bytes() for index in chosen]


def _register_one(folder: Path, network: torch.nn.Module, kept: Holdout) -> None:
    package.assemble(folder, network, kept)
    answers = GazeNetwork(folder / contract.NETWORK).predict_encoded(kept.jpegs)
    figures = errors.measure(answers, kept.labels_deg, kept.blocks).means()
    stated = contract.Statement(
        model_name=NAME,
        crop={"layout": "dashgaze"},
        errors={"split": "blocks", "leaking": False, "samples": len(kept), "model": figures},
        digests={"data": "", "drive": kept.drive, "base": "", "code": ""},
        training={},
        rendered_sample_drive=True,
    )
    contract.seal(folder, package.golden(kept), stated)
    with mlflow.start_run() as run:
        pass
    registration.register(folder, model_name=NAME, run_id=run.info.run_id)


# --- servers and load --------------------------------------------------------------------------------------------


@contextmanager
def _server(folder: Path, precision: str) -> Iterator[Server]:
    command = ["serving", "--poll", "0.2", "--cache", str(folder / "serving-cache"), "--precision", precision]
    with process(folder, command, "/readyz") as server:
        yield server


@contextmanager
def _mlflow_server(folder: Path) -> Iterator[Server]:
    command = ["mlflow", "models", "serve", "-m", f"models:/{NAME}/1", "--env-manager", "local"]
    with process(folder, command, "/ping") as server:
        yield server


@contextmanager
def process(
    folder: Path, command: list[str], health: str, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """``python -m COMMAND --port …`` until it answers ``health``; ended with its children afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log = folder / f"{command[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            cwd=folder,
            env=(environment or os.environ | {"PYTHONPATH": str(ROOT)}) | {"PATH": path},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"http://127.0.0.1:{port}{health}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(command)} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield Server(port, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _state(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz?verbose", timeout=30) as answer:
        state: dict[str, Any] = json.load(answer)
        return state


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def load(
    folder: Path, port: int, path: str, kind: str, bodies: list[Path], connections: int, seconds: float
) -> Iterator[list[Answer]]:
    """Load for ``seconds`` or until the block ends, whatever is later; the list is filled behind the block."""
    plan = {"host": "127.0.0.1", "port": port, "path": path, "content_type": kind, "bodies": [str(b) for b in bodies]}
    plan |= {"connections": connections, "seconds": seconds, "answers": str(folder / "answers.jsonl")}
    plan["stop"] = str(folder / "stop")
    (folder / "stop").unlink(missing_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "benchmarks.client", str(folder / "plan.json")]
    process = subprocess.Popen(command, cwd=ROOT)
    answers: list[Answer] = []
    yield answers
    (folder / "stop").touch()
    if process.wait():
        raise SystemExit("benchmarks.client failed")
    answers += [Answer(*json.loads(line)) for line in (folder / "answers.jsonl").read_text().splitlines()]


# --- claim 1 -----------------------------------------------------------------------------------------------------


def _following(port: int, folder: Path, jpegs: list[bytes], given: argparse.Namespace) -> None:
    expected = {
        number: GazeNetwork(folder / f"package-{number}" / contract.NETWORK).predict_encoded(jpegs) for number in (1, 2)
    }
    bodies = _written(folder, "jpg", jpegs)
    slow = 0.0
    with load(folder, port, "/v1/gaze", "image/jpeg", bodies, given.clients, given.seconds) as answers:
        began = time.monotonic()
        for k in range(given.swaps):
            time.sleep(max(0.0, began + (k + 0.5) * given.seconds / given.swaps - time.monotonic()))
            stages.promote(NAME, 2 - k % 2, force=True, why="benchmark: back and forth under load")
            promoted = time.monotonic()
            while _state(port)["version"] != 2 - k % 2:
                time.sleep(0.05)
            slow = max(slow, time.monotonic() - promoted)
    failed = [answer for answer in answers if answer.status != 200]
    good = [(answer, json.loads(answer.text)) for answer in answers if answer.status == 200]
    wrong = sum(not _is_of_its_version(answer, content, expected) for answer, content in good)
    served = {number: sum(content["version"] == number for _, content in good) for number in (1, 2)}
    lasted = max(answer.sent + answer.seconds for answer in answers) - min(answer.sent for answer in answers)
    print(f"## {given.swaps} promotions in {lasted:.0f} s under load from {given.clients} clients\n")
    print("| requests | failed | answers of another version than named | answered by 1 / 2 | followed after |")
    print("|---|---|---|---|---|")
    print(f"| {len(answers)} | {len(failed)} | {wrong} | {served[1]} / {served[2]} | {slow:.1f} s at most |\n")
    for answer in failed[:5]:
        print(f"failed: status {answer.status}: {answer.text[:200]}")
    print(_times("latency", [answer.seconds for answer in answers]) + "\n", flush=True)


def _is_of_its_version(answer: Answer, content: dict[str, Any], expected: dict[int, np.ndarray]) -> bool:
    said = content["answers"][0]
    wanted = expected[content["version"]][answer.body]
    return bool((absolute_errors(np.array([said["azimuth_deg"], said["elevation_deg"]]), wanted) < SAME_DEG).all())


# --- claim 2 -----------------------------------------------------------------------------------------------------


def _speed(ours: int, theirs: int, folder: Path, jpegs: list[bytes], given: argparse.Namespace) -> None:
    print(f"## Against `mlflow models serve`, same version, {given.clients} clients, {given.rounds} rounds in turn\n")
    print("| pictures a request | server | pictures/s | p50 ms | p95 ms | throughput | p95 |\n" + "|---" * 7 + "|")
    for size in (1, 16):
        groups = [jpegs[at : at + size] for at in range(0, len(jpegs), size)]
        tables = _written(folder, f"table-{size}.json", [_table(group) for group in groups])
        images = _written(folder, f"images-{size}.json", [_images(group) for group in groups])
        natural = ("image/jpeg", _written(folder, "jpg", jpegs)) if size == 1 else ("application/json", images)
        sides = {
            "mlflow models serve, /invocations": (theirs, "/invocations", "application/json", tables),
            "this server, /invocations": (ours, "/invocations", "application/json", tables),
            "this server, /v1/gaze": (ours, "/v1/gaze", *natural),
        }
        measured: dict[str, list[list[Answer]]] = {name: [] for name in sides}
        for _ in range(given.rounds):
            for name, (port, path, kind, bodies) in sides.items():
                with load(folder, port, path, kind, bodies, given.clients, given.round_seconds) as answers:
                    pass
                bad = [answer for answer in answers if answer.status != 200]
                if bad:
                    raise SystemExit(f"{name}: status {bad[0].status}: {bad[0].text[:300]}")
                measured[name].append(answers)
        first = None
        for name, rounds in measured.items():
            rate = statistics.median(_rate(answers, size) for answers in rounds)
            seconds = [answer.seconds for answers in rounds for answer in answers]
            p50, p95 = np.percentile(seconds, [50, 95])
            first = first or (rate, p95)
            print(
                f"| {size} | {name} | {rate:.1f} | {p50 * 1000:.0f} | {p95 * 1000:.0f} | {rate / first[0]:.2f}× | "
                f"{p95 / first[1]:.2f}× |",
                flush=True,
            )


def _rate(answers: list[Answer], size: int) -> float:
    """Pictures a second between the first request and the last answer."""
    began = min(answer.sent for answer in answers)
    ended = max(answer.sent + answer.seconds for answer in answers)
    return len(answers) * size / (ended - began)


def _table(jpegs: list[bytes]) -> bytes:
    rows = [[base64.b64encode(jpeg).decode()] for jpeg in jpegs]
    return json.dumps({"dataframe_split": {"columns": ["image"], "data": rows}}).encode()


def _images(jpegs: list[bytes]) -> bytes:
    return json.dumps({"images": [base64.b64encode(jpeg).decode() for jpeg in jpegs]}).encode()


def _written(folder: Path, suffix: str, contents: list[bytes]) -> list[Path]:
    paths = [folder / f"body-{number}.{suffix}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def _times(what: str, seconds: list[float]) -> str:
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1000
    return f"{what}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, longest {max(seconds) * 1000:.0f} ms"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="data", help="where the sample drive lies (data)")
    parser.add_argument("--clients", type=int, default=16, help="connections at once (16)")
    parser.add_argument("--seconds", type=float, default=60, help="length of the load with promotions (60)")
    parser.add_argument("--swaps", type=int, default=10, help="promotions in that time (10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the comparison (3)")
    parser.add_argument("--round-seconds", type=float, default=10, help="seconds of a round (10)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
