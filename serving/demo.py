"""``make demo``: tracking server, a promoted model, the prediction server and the app, until Ctrl-C.

Works on the tracking database of the folder it is started in (``mlflow.db``). Without a version there, a short search
on the rendered sample drive makes one; without one in Production, the newest is promoted through the gate.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import mlflow

from recording.exceptions import GazeError, InputError, NoSuchVersion
from registry import resolving, versions
from registry.addresses import DEFAULT_MODEL_NAME
from registry.command_line import leave

PATIENCE_S = 120.0
GRACE_S = 15.0
# Enough to pass the gate on the rendered sample drive, in minutes.
TRAINING = ["--samples", "400", "--trials", "1", "--freeze", "none", "--bn", "target", "--epochs_min", "12",
            "--epochs_max", "12", "--lr_min", "3e-4", "--lr_max", "3e-4"]  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One of the three processes and where its output lies."""

    process: subprocess.Popen[bytes]
    log: str


def main(argv: list[str] | None = None) -> int:
    """Start everything, print the addresses, wait for Ctrl-C, stop everything."""
    given = _arguments(argv)
    ports = {"tracking": given.tracking_port, "server": given.server_port, "app": given.app_port}
    if len(set(ports.values())) < len(ports):
        raise InputError(f"ports {', '.join(map(str, ports.values()))}: they must differ; choose others")
    address = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    for name, url in address.items():
        if _answers(url):
            raise InputError(f"{name}: something answers on {url} already; stop it or give --{name}-port another port")
    # A tracking server would start eight processes more, for scorers and traces that nothing here has.
    env = os.environ | {"MLFLOW_TRACKING_URI": address["tracking"], "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        env.pop(name, None)
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        store = ["--backend-store-uri", f"sqlite:///{Path('mlflow.db').resolve()}", "--workers", "1"]
        running = {
            "tracking server": _start(
                stack, ["mlflow", "server", "--port", str(given.tracking_port), *store], env, "demo-tracking.log"
            )
        }
        _wait("tracking server", address["tracking"] + "/health", running)
        _have_production(env)
        running["prediction server"] = _start(
            stack, ["serving", "--port", str(given.server_port)], env, "demo-server.log"
        )
        running["app"] = _start(stack, ["serving", "app", "--port", str(given.app_port)], env, "demo-app.log")
        _wait("prediction server", address["server"] + "/readyz", running)
        _wait("app", address["app"] + "/_stcore/health", running)
        print(
            f"\ntracking server    {address['tracking']}\n"
            f"prediction server  {address['server']}/docs\n"
            f"app                {address['app']}\n"
            "Ctrl-C stops all three.",
            flush=True,
        )
        while True:
            _check(running)
            time.sleep(0.5)
    print("stopped")
    return 0


def _start(stack: contextlib.ExitStack, command: list[str], env: dict[str, str], log: str) -> Part:
    """``python -m …`` in a session of its own, so that Ctrl-C reaches it through us, once."""
    with Path(log).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=env, stdout=output, stderr=output, start_new_session=True
        )
    stack.callback(_stop, process)
    return Part(process, log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process and its workers; SIGKILL to what is left after the grace time."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _check(running: dict[str, Part]) -> None:
    for name, part in running.items():
        if part.process.poll() is not None:
            raise GazeError(f"{name} ended with exit status {part.process.returncode}; {part.log} says why")


def _wait(name: str, url: str, running: dict[str, Part]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _answers(url, good=True):
        _check(running)
        if time.monotonic() > deadline:
            raise GazeError(f"{name} did not answer within {PATIENCE_S:.0f} s; {running[name].log} says why")
        time.sleep(0.3)


def _answers(url: str, good: bool = False) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return bool(answer.status < 400)
    except urllib.error.HTTPError:
        return not good
    except OSError:
        return False


def _have_production(env: dict[str, str]) -> None:
    """Train and promote where that was not done yet."""
    mlflow.set_tracking_uri(env["MLFLOW_TRACKING_URI"])
    with contextlib.suppress(NoSuchVersion):
        resolving.resolve(DEFAULT_MODEL_NAME)
        return
    if not _numbers():
        print("no version yet: fine-tuning on the rendered sample drive; this takes some minutes", flush=True)
        _run([sys.executable, "-m", "training", "main", *TRAINING], env)
    promote = ["registry", "promote", "--version", str(max(_numbers())), "--why", "first one of make demo"]
    _run([sys.executable, "-m", *promote], env)


def _numbers() -> list[int]:
    """Of the versions that there are."""
    try:
        return [version.number for version in versions.every(DEFAULT_MODEL_NAME)]
    except NoSuchVersion:
        return []


def _run(command: list[str], env: dict[str, str]) -> None:
    if status := subprocess.run(command, env=env).returncode:
        raise GazeError(f"{' '.join(command[1:4])} ended with exit status {status}; see above")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--tracking-port", type=int, default=5000, help="MLflow (%(default)s)")
    parser.add_argument("--server-port", type=int, default=8080, help="prediction server (%(default)s)")
    parser.add_argument("--app-port", type=int, default=8501, help="app (%(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    leave(main)
