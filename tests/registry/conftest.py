"""A real tracking server for the registry's tests: ``mlflow server``, basic authentication, PostgreSQL, files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import sqlalchemy
from databases import Postgres, free_port, wait_for_answer
from werkzeug.security import generate_password_hash

ADMIN = ("admin", "a-password-for-tests")


@dataclass(frozen=True)
class Server:
    """A running tracking server and who may log in."""

    uri: str
    user: str
    password: str
    log: Path


@pytest.fixture(scope="session")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``mlflow server`` as docs/registry.md starts it: basic authentication, PostgreSQL, artifacts in a folder."""
    folder = tmp_path_factory.mktemp("server")
    for name in ("mlflow", "auth"):
        postgres.create(name)
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = {postgres.address}auth\nadmin_username = {ADMIN[0]}\nadmin_password = {ADMIN[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--backend-store-uri",
        f"{postgres.address}mlflow",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
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
        wait_for_answer(f"http://127.0.0.1:{port}/health", process, folder / "log")
        _hash_cheaply(f"{postgres.address}auth")
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
