"""A tracking server to which no secure connection comes about: one line in seconds names what is wrong."""

import contextlib
import http.server
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import requests

from recording.exceptions import RegistryError
from registry import certificate, store

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


class Quiet(http.server.ThreadingHTTPServer):
    """A server that says nothing of those who do not get through."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


NAMED = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of one's own, for ``localhost``, which nobody trusts; others lie beside it.

    ``key.pem``, ``both.pem`` (the two), ``ca.der``, ``other.pem`` with ``other-key.pem``, ``mixed.pem`` (the one with
    the other's key), ``expired.pem`` (of ``key.pem``), ``letter.pem``.
    """
    folder = tmp_path_factory.mktemp("certificate")

    def openssl(command: str, name: str = "") -> None:
        words = ["openssl", *command.split(), *(["-addext", f"subjectAltName=DNS:{name}"] if name else [])]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)

    openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=localhost", "localhost")
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout other-key.pem -out other.pem -days 2 -subj /CN=other", "other")
    openssl("x509 -in ca.pem -outform der -out ca.der")
    openssl("x509 -in ca.pem -signkey key.pem -days -1 -out expired.pem")
    for name, parts in (("both", ("ca", "key")), ("mixed", ("ca", "other-key"))):
        (folder / f"{name}.pem").write_text("".join((folder / f"{part}.pem").read_text() for part in parts))
    (folder / "letter.pem").write_text("A letter, and no certificate at all.\n")
    return folder / "ca.pem"


@pytest.fixture
def serve(own: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """``serve(certificate, wants=…, oldest=…)``: an ``https://`` address that answers, with this environment's own."""
    for name in NAMED:
        monkeypatch.delenv(name, raising=False)
    certificate._shake_hands.cache_clear()
    certificate._ask_plainly.cache_clear()
    Answering.asked.clear()
    servers = []

    def start(name: str = "ca", *, wants: bool = False, newest: ssl.TLSVersion | None = None) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.with_name(f"{name}.pem"), own.with_name("key.pem"))
        if wants:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(own)
        context.maximum_version = newest or context.maximum_version
        server = Quiet(("127.0.0.1", 0), Answering)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"https://localhost:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def secured(serve: Callable[..., str]) -> str:
    return serve()


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


SERVER_FILES = [
    (
        "ca.der",
        "is a certificate in the format DER, and PEM is wanted; write it as that (`openssl x509 -inform der -in ",
    ),
    ("key.pem", "holds a private key and no certificate; give the path of the certificate"),
    ("letter.pem", "holds no certificate that can be read"),
]


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize(("name", "says"), SERVER_FILES)
def test_a_file_that_holds_no_certificate_is_named(
    secured: str, own: Path, variable: str, name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(own.with_name(name)))
    assert said_of(secured).startswith(f"{variable}={own.with_name(name)}: {says}")
    assert Answering.asked == []


OWN_FILES = [
    ("ca.pem", "holds no private key; give a file with both (`cat client.pem client.key > both.pem`)"),
    ("key.pem", "holds a key and no certificate; give a file with both"),
    ("mixed.pem", "its key is of another certificate"),
    ("ca.der", "holds no certificate with its key that can be read"),
    ("", "is a folder; give the path of a file with a certificate and its key"),
    ("nowhere.pem", "there is no such file"),
]


@pytest.mark.parametrize(("name", "says"), OWN_FILES)
def test_a_file_that_holds_no_certificate_with_its_key_is_named(
    secured: str, own: Path, name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(own))
    path = own.with_name(name) if name else own.parent
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(path))
    assert said_of(secured).startswith(f"MLFLOW_TRACKING_CLIENT_CERT_PATH={path}: {says}")


def test_a_key_with_a_passphrase_needs_a_terminal(secured: str, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(own))
    locked = own.with_name("locked.pem")
    words = ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", own.with_name("key.pem"), "-out", locked]
    subprocess.run(words, check=True, capture_output=True)
    locked.write_text(own.read_text() + locked.read_text())
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(locked))
    monkeypatch.setattr(certificate, "_has_terminal", lambda: False)
    assert said_of(secured).startswith(
        f"MLFLOW_TRACKING_CLIENT_CERT_PATH={locked}: its key has a passphrase, and there is no terminal to ask for it"
    )
    monkeypatch.setattr(certificate, "_has_terminal", lambda: True)
    certificate._check_own(locked)


def said_of(address: str) -> str:
    """The one line with which an address is refused, in seconds."""
    began = time.monotonic()
    with pytest.raises(RegistryError) as raised:
        store.check(address)
    assert time.monotonic() - began < 10
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("insecure", [False, True])
def test_a_server_that_wants_a_certificate_says_so_in_seconds(
    serve: Callable[..., str], own: Path, newest: ssl.TLSVersion, insecure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if insecure:
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(own))
    address = serve(wants=True, newest=newest)
    assert re.search(
        r"^MLflow at https://localhost:\d+: it (may want|wants) a certificate of whoever asks \(.*\); "
        "set MLFLOW_TRACKING_CLIENT_CERT_PATH to a file with one and its key$",
        said_of(address),
    )
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(own.with_name("both.pem")))
    store.check(address)
    other = own.with_name("strange.pem")
    other.write_text(own.with_name("other.pem").read_text() + own.with_name("other-key.pem").read_text())
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(other))
    assert f"it does not take the certificate of MLFLOW_TRACKING_CLIENT_CERT_PATH={other} (" in said_of(address)


def test_what_helps_depends_on_why_a_certificate_is_not_trusted(
    serve: Callable[..., str], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(own))
    elsewhere = said_of(serve().replace("localhost", "127.0.0.1"))
    assert "its certificate is of another name (IP address mismatch, certificate is not valid for '127.0.0" in elsewhere
    assert elsewhere.endswith("; write a name that it is for in MLFLOW_TRACKING_URI, or have one made for this name")
    expired = own.with_name("expired.pem")
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(expired))
    assert "is not valid any more (certificate has expired); renew it on the server" in said_of(serve("expired"))
    other = own.with_name("other.pem")
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(other))
    assert f"MLFLOW_TRACKING_SERVER_CERT_PATH={other} is not the file of its CA: give that one" in said_of(serve())


def test_plain_http_to_a_server_that_speaks_https_is_said(secured: str) -> None:
    address = secured.replace("https://", "http://ann:secret@")
    shown = secured.replace("https://", "http://ann:…@")
    assert said_of(address) == f"MLflow at {shown}: it speaks https; write https:// in MLFLOW_TRACKING_URI"


def test_plain_http_is_asked_once(serve: Callable[..., str]) -> None:
    server = Quiet(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for _ in range(3):
        store.check(f"http://localhost:{server.server_port}")
    assert Answering.asked == ["HEAD"]
    assert "it does not speak https" in said_of(f"https://localhost:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_a_scheme_in_capitals_is_the_same(secured: str) -> None:
    assert "not trusted here (self-signed certificate)" in said_of(secured.replace("https", "HTTPS"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_does_not_answer_is_left_to_mlflow(scheme: str, serve: Callable[..., str]) -> None:
    store.check(f"{scheme}://127.0.0.1:9")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_ends_every_connection_is_left_to_mlflow(scheme: str, serve: Callable[..., str]) -> None:
    """So does a proxy whose server is being started again."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listening.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        store.check(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_is_slow_is_left_to_mlflow(scheme: str, serve: Callable[..., str], monkeypatch) -> None:
    monkeypatch.setattr(certificate, "_ANSWER_S", 0.5)
    monkeypatch.setattr(certificate, "_PLAIN_ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        store.check(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.parametrize("address", ["http://mlflow..example:5000", "https://mlflow..example", f"http://{'a' * 70}.b"])
def test_a_name_that_can_be_no_hosts_is_left_to_mlflow(address: str) -> None:
    certificate.check(address)


def test_of_two_bundles_the_one_counts_that_is_asked_first(monkeypatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem")
    certificate.check("https://127.0.0.1:9")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(RegistryError, match=r"^CURL_CA_BUNDLE=/nowhere/ca\.pem: there is no such file"):
        certificate.check("https://127.0.0.1:9")


def test_the_fault_of_a_proxy_is_not_the_servers(monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "https://127.0.0.1:9")
    certificate.check("https://mlflow.example")
