"""A tracking server whose certificate is not trusted here, or whose address holds a password."""

import http.server
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from recording.exceptions import RegistryError
from registry import certificate, logins, store

ROOT = Path(__file__).parents[2]


class Answering(http.server.BaseHTTPRequestHandler):
    """A server that answers everything with an empty object."""

    asked: ClassVar[list[str]] = []

    def answer(self) -> None:
        self.asked.append(self.command)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"{}")

    do_HEAD = do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of one's own, for ``localhost``, which nobody trusts; ``key.pem`` lies beside it."""
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=localhost"
    words = [*command.split(), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return folder / "ca.pem"


@pytest.fixture
def secured(own: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    certificate._shake_hands.cache_clear()
    Answering.asked.clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, own.with_name("key.pem"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("command", ["registry list", "training evaluate --data nowhere"])
def test_a_certificate_that_is_not_trusted_is_said_in_seconds(secured: str, command: str, tmp_path: Path) -> None:
    address = secured.replace("://", "://ann:secret@")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_TRACKING_URI": address, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert time.monotonic() - began < 60  # MLflow by itself: four minutes
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: MLflow at https://ann:…@localhost:")
    assert "not trusted here (self-signed certificate); set MLFLOW_TRACKING_SERVER_CERT_PATH" in line


def test_a_trusted_certificate_is_looked_at_once(secured: str, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(own))
    for _ in range(3):
        store.check(secured)
    assert Answering.asked == ["HEAD"]


def test_one_that_need_not_be_trusted_is_not(secured: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    store.check(secured)


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE"])
def test_a_certificates_file_that_is_not_there_is_named(secured: str, variable: str, monkeypatch) -> None:
    monkeypatch.setenv(variable, "/nowhere/ca.pem")
    with pytest.raises(RegistryError, match=f"^{variable}=/nowhere/ca.pem: there is no such file"):
        store.check(secured)


def test_a_server_that_does_not_answer_is_left_to_mlflow() -> None:
    store.check("https://127.0.0.1:9")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:s3cr@t@host:5000/api failed", "https://ann:…@host:5000/api failed"),
        (
            "at postgresql+psycopg2://ann:a/b:c@db/mlflow: x",
            "at postgresql+psycopg2://ann:…@db/mlflow: x",
        ),
        ("postgresql://db/mlflow?user=ann&password=secret&sslmode=require", None),
        ("https://glpat-12_ab@host:5000/api failed", "https://…@host:5000/api failed"),
        ("http://127.0.0.1:5000 (models:/gaze@production)", "http://127.0.0.1:5000 (models:/gaze@production)"),
        ("sqlite:////srv/a b/mlflow.db and ann@host", "sqlite:////srv/a b/mlflow.db and ann@host"),
    ],
)
def test_passwords_in_addresses_are_not_shown(text: str, shown: str | None) -> None:
    expected = shown or "postgresql://db/mlflow?user=ann&password=…&sslmode=require"
    assert logins.hide(text) == expected
