"""A server process of one's own, and what talks to it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


class ServerProcess:
    """``python -m serving`` on a free port of this machine."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"server-{self.port}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving", "--port", str(self.port), "--cache", str(folder / "cache"), *options],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.client = httpx.Client(base_url=self.address, timeout=60)

    def wait_until(self, condition: Callable[[dict], bool], seconds: float = 180) -> dict:
        """The first verbose readiness that fulfils ``condition``."""
        end = time.monotonic() + seconds
        last: dict = {}
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                last = self.client.get("/readyz?verbose").json()
                if condition(last):
                    return last
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {last}\n{self.log.read_text()}")

    def wait_ready(self, version: int | None = None) -> dict:
        """Wait until the registry has confirmed what answers."""
        return self.wait_until(lambda s: s["ready"] and not s["stale"] and version in (None, s["version"]))

    def resident_mib(self, what: str = "VmRSS") -> float:
        """Memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1]) / 1024

    def forget_peak(self) -> None:
        """``resident_mib("VmHWM")`` counts from here."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def server_process() -> type[ServerProcess]:
    """For a server that more than one test talks to; who starts it stops it."""
    return ServerProcess


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """``start_server("--poll", "1")`` starts a server in ``tmp_path``; all are stopped at the end."""
    started: list[ServerProcess] = []

    def start(*options: str, environment: dict[str, str] | None = None) -> ServerProcess:
        started.append(ServerProcess(tmp_path, *options, environment=environment))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps copies of versions without being told where does not keep them at this machine's user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "xdg"))
