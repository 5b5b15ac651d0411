"""What every room's tests share: a fresh registry and quick versions in it."""

import contextlib
import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

_TESTS = Path(__file__).parent
# importlib mode puts neither on the path: `registry` for the tests, `packages` for all rooms.
for folder in (_TESTS, _TESTS.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

if "PYTEST_XDIST_WORKER" in os.environ:
    gc.disable()  # until all is imported, and then left alone (recording/garbage.py)
    # As many threads as there are cores for each worker, and for each process that its tests start, is too many.
    cores = os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))))

# A tracking server would start eight processes more, for scorers and traces that nothing here has: 40 s of a core.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")

import databases  # noqa: E402
import registries  # noqa: E402

from registry import interruption  # noqa: E402
from tests import recordings  # noqa: E402


@event.listens_for(Engine, "connect")
def _do_not_wait_for_the_disk(connection: object, _: object) -> None:
    """A test's database need not outlive a power cut: a tenth of what a commit takes is left, and there are thousands.

    Of the tests' own processes; commands, trials and servers that they start are as users have them.
    """
    if isinstance(connection, sqlite3.Connection):
        (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute("PRAGMA busy_timeout = 0")
        with contextlib.suppress(sqlite3.OperationalError):  # another program holds the file: it stays as it is
            connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA busy_timeout = {patience}")


SHARED = ("journey", "postgres")
"""Fixtures that take minutes to build: one worker gets all tests that use one."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under xdist (``--dist loadgroup``): what is built once stays on one worker, and long tests start first."""
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs
        shared = [name for name in SHARED if name in fixtures]
        of_module = any(definition.scope == "module" for given in fixtures.values() for definition in given)
        if shared or of_module:
            item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.nodeid.partition("::")[0]))
    # And what stays together before single tests, which fill the gaps: a long group at the end would leave a core idle.
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("slow", "xdist_group")])


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes make no name of a test: what was packed or drawn just now differs between two workers."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is built once must stay on one worker: some versions of pytest and pytest-xdist do not agree on how."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    if not hasattr(session.config, "workerinput"):
        return
    alone = [item for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
    if alone:
        raise pytest.UsageError(f"{alone[0].nodeid}: pytest-xdist did not group it; pin versions that work together")


@pytest.fixture(scope="session")
def postgres() -> Iterator[databases.Postgres]:
    """A PostgreSQL cluster for all tests of a worker; whoever stops it starts it again."""
    cluster = databases.Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def empty_database() -> bytes:
    """An MLflow database with its tables made."""
    return registries.empty_database()


@pytest.fixture(autouse=True)
def patience_with_mlflow() -> Iterator[None]:
    """What a test's command sets when it ends (:func:`registry.interruption.ask_once`) is its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
            patch.setenv(name, "0")
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """What a test has encoded does not leave its worker in real time (:func:`recordings.in_ordinary_time`)."""
    yield
    recordings.in_ordinary_time()


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """What a command in a test's process does on a signal (:func:`registry.command_line.leave`) is its own."""
    kept = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: bytes) -> Iterator[str]:
    """A fresh sqlite registry in ``tmp_path``, which is the working directory; yields its address."""
    with registries.fresh(tmp_path, empty_database, monkeypatch) as uri:
        yield uri


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> registries.Snapshots:
    """What registering gave in this worker's tests."""
    return registries.Snapshots(tmp_path_factory.mktemp("snapshots"))


@pytest.fixture
def make_version(tracking: str, tmp_path: Path, snapshots: registries.Snapshots) -> Callable[..., int]:
    """``make_version(bias_deg=(1, 2), …)`` registers a tiny package (:func:`packages.make_package`); its number."""
    return registries.Registrar(tmp_path, snapshots)


@pytest.fixture
def as_anybody() -> Callable[..., str]:
    """``as_anybody(code, *words)`` runs Python code for which the modes of files count, as they do not for root.

    Gives what it prints; skips the test where root cannot put its rights down.
    """
    lowered: list[str] = []
    if os.getuid() == 0:
        rights = "-dac_override,-dac_read_search,-fowner"
        lowered = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
        if shutil.which("setpriv") is None or subprocess.run([*lowered, "true"], check=False).returncode:
            databases.absent("setpriv")

    def run(code: str, *words: str) -> str:
        handed = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [*lowered, sys.executable, "-c", code, *words], env=handed, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
