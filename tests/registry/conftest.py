"""A real tracking server for the registry's tests: ``mlflow server``, basic authentication, PostgreSQL, files."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import sqlalchemy
from werkzeug.security import generate_password_hash

ADMIN = ("admin", "a-password-for-tests")
_START_S = 300  # migrating an empty database takes a while on a busy machine


@dataclass(frozen=True)
class Server:
    """A running tracking server and who may log in."""

    uri: str
    user: str
    password: str
    log: Path


def absent(what: str) -> None:
    """Skip the test, but never on CI: there the thing has to be."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must run this test")
    pytest.skip(f"{what} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL cluster of its own, on 127.0.0.1; yields the address of an empty database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = (
        str(programs[-1].parent) if programs else shutil.which("initdb") and str(Path(shutil.which("initdb")).parent)
    )
    if not found:
        absent("PostgreSQL")
    # Not under pytest's folders: PostgreSQL refuses to run as root, and its user may not look in there.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    as_user = []
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    control = [*as_user, f"{found}/pg_ctl", "-D", f"{folder}/data", "-w"]

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=_START_S)

    run(*as_user, f"{found}/initdb", "-D", f"{folder}/data", "-U", "gaze", "--auth=trust", "-E", "UTF8", "--no-sync")
    run(*control, "-l", f"{folder}/log", "-o", options, "start")
    try:
        run(*as_user, f"{found}/createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "gaze", "mlflow")
        run(*as_user, f"{found}/createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "gaze", "auth")
        yield f"postgresql+psycopg2://gaze@127.0.0.1:{port}/"
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``mlflow server`` as docs/registry.md starts it: basic authentication, PostgreSQL, artifacts in a folder."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = {postgres}auth\nadmin_username = {ADMIN[0]}\nadmin_password = {ADMIN[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"{postgres}mlflow", "--artifacts-destination", str(folder / "artifacts")]
    variables = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-for-tests",
    }
    variables.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _await(f"http://127.0.0.1:{port}/health", process, folder / "log")
        _hash_cheaply(f"{postgres}auth")
        yield Server(f"http://127.0.0.1:{port}", *ADMIN, folder / "log")
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _hash_cheaply(database: str) -> None:
    """The same password in a hash that costs nothing: MLflow's scrypt takes a tenth of a second of every request."""
    engine = sqlalchemy.create_engine(database)
    with engine.begin() as connection:
        changed = connection.execute(
            sqlalchemy.text("UPDATE users SET password_hash = :hash WHERE username = :user"),
            {"hash": generate_password_hash(ADMIN[1], method="pbkdf2:sha256:1"), "user": ADMIN[0]},
        )
    engine.dispose()
    assert changed.rowcount == 1


def _await(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.5)
    pytest.fail(f"no answer from {address}: {log.read_text()[-3000:]}")


@pytest.fixture
def on_server(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The test's MLflow is ``server``, with the admin's credentials; yields a model name of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", server.user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.password)
    for variable in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    mlflow.set_tracking_uri(server.uri)
    mlflow.set_registry_uri(None)
    yield request.node.originalname.removeprefix("test_")[:40].replace("_", "-")
    mlflow.set_tracking_uri(None)
