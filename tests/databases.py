"""A PostgreSQL cluster of the tests' own, which they may stop and start."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

START_S = 300  # on a busy machine


def absent(what: str) -> None:
    """Skip the test, but never on CI: there the thing has to be."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must run this test")
    pytest.skip(f"{what} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_answer(address: str, server: subprocess.Popen, log: Path) -> None:
    """Until somebody answers there; fails the test where the ``server`` has ended, with the end of its ``log``."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.5)
    pytest.fail(f"no answer from {address}: {log.read_text()[-3000:]}")


class Postgres:
    """A running cluster on 127.0.0.1; skips the test where PostgreSQL is not installed."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        found = str(programs[-1]) if programs else shutil.which("initdb")
        if not found:
            absent("PostgreSQL")
        self.programs = Path(found).parent
        # Not under pytest's folders: PostgreSQL refuses to run as root, and its user may not look in there.
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user, self._user)
        self._run("initdb", "-D", f"{self.folder}/data", "-U", "gaze", "--auth=trust", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def address(self) -> str:
        """To be followed by the name of a database."""
        return f"postgresql+psycopg2://gaze@127.0.0.1:{self.port}/"

    def create(self, name: str) -> str:
        """The address of a new, empty database."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "gaze", name)
        return self.address + name

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._control("-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        """At once: whoever is connected is cut off."""
        self._control("-m", "immediate", "stop")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.programs / program), *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            timeout=START_S,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
        )
