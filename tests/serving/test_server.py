"""The server process: its settings reach what they are for, its workers count together, the app ends with it."""

import collections
import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import packages
import psutil
import pytest
import uvicorn

from recording.exceptions import InputError
from registry import stages
from registry.addresses import Selector
from serving import __main__ as command
from serving import server
from serving.gatekeeper import Gatekeeper
from serving.limits import Limits
from serving.metrics import Metrics

JPEG = {"content": packages.picture(10, -5), "headers": {"content-type": "image/jpeg"}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def _hello(scope, receive, send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": (await receive())["bytes"]})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@contextlib.contextmanager
def _serving(monkeypatch: pytest.MonkeyPatch, application=_hello, **limits) -> Iterator[tuple[str, int]]:
    """What :func:`serving.server.run` starts, in a thread and with an application of the test's; its address."""
    made: list[uvicorn.Server] = []

    def in_a_thread(app: str, *, factory: bool, workers: int, **options) -> None:
        made.append(uvicorn.Server(uvicorn.Config(application, lifespan="off", **options)))
        threading.Thread(target=made[0].run, daemon=True).start()

    monkeypatch.setattr(uvicorn, "run", in_a_thread)
    monkeypatch.setenv(server.SETTINGS, "")
    settings = server.Settings(selector=Selector(), limits=Limits(**limits), port=_free_port())
    server.run(settings)
    try:
        end = time.monotonic() + 10
        while not made[0].started and time.monotonic() < end:
            time.sleep(0.01)
        yield "127.0.0.1", settings.port
    finally:
        made[0].should_exit = True


def _answer_until_closed(address: tuple[str, int], *sent: bytes) -> tuple[bytes, float]:
    """What comes back until the server closes, and after how many seconds it does; each is ``sent`` after an answer."""
    with socket.create_connection(address, timeout=10) as connection:
        came = b""
        for number, part in enumerate(sent):
            if number:
                came += connection.recv(4096)
            connection.sendall(part)
        began = time.monotonic()
        while part := connection.recv(4096):
            came += part
        return came, time.monotonic() - began


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
TO_WEBSOCKET = (
    b" /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


# A connection that says nothing is closed after the seconds of the limits, not after fifteen; half a head says nothing,
# the first of a connection or a later one.
@pytest.mark.parametrize("sent", [(b"",), (b"GET / HTTP/1.1\r\nHo",), (GET, b"GET / HT")])
def test_silent_connections_are_closed_after_head_seconds(monkeypatch: pytest.MonkeyPatch, sent) -> None:
    with _serving(monkeypatch, head_seconds=0.3) as address:
        came, seconds = _answer_until_closed(address, *sent)
        assert came.count(b"hello") == len(sent) - 1
        assert 0.2 < seconds < 3
        assert httpx.get(f"http://{address[0]}:{address[1]}/").text == "hello"


# Only GET opens a WebSocket; whoever asks for one otherwise is answered as if he had not.
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"HEAD", b"OPTIONS"])
def test_a_websocket_by_another_method_is_answered_over_http(monkeypatch: pytest.MonkeyPatch, method) -> None:
    with _serving(monkeypatch) as address, socket.create_connection(address, timeout=5) as connection:
        connection.sendall(method + TO_WEBSOCKET + b"Content-Length: 0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


# What uvicorn hands to its WebSocket protocol and that cannot read is refused at once, and its connection closed.
@pytest.mark.parametrize(
    "more",
    [b"Content-Length: 5\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n", b"Long: " + b"x" * 9000 + b"\r\n\r\n"],
)
def test_a_head_that_cannot_open_a_websocket_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, more) -> None:
    with _serving(monkeypatch) as address:
        came, seconds = _answer_until_closed(address, b"GET" + TO_WEBSOCKET + more)
        assert came.startswith(b"HTTP/1.1 400 ")
        assert seconds < 3


def test_websockets_open_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with _serving(monkeypatch, head_seconds=0.3) as address, socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"GET" + TO_WEBSOCKET + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
        time.sleep(0.6)
        connection.sendall(b"\x82\x83\0\0\0\0abc")
        assert connection.recv(4096) == b"\x82\x03abc"


# Few open files mean few connections, said in one line; those over it are closed, and never use up the files.
@pytest.mark.parametrize(("files", "connections"), [(64, 16)])
def test_connections_are_as_many_as_open_files_allow(
    tracking: str, start_server, monkeypatch, files, connections
) -> None:
    popen = subprocess.Popen

    def with_few_files(command, **options):
        return popen(["/bin/sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command], **options)

    monkeypatch.setattr(subprocess, "Popen", with_few_files)
    started = start_server("--poll", "60")
    started.wait_until(lambda state: state["problem"] != "")
    with contextlib.ExitStack() as held:
        with contextlib.suppress(TimeoutError):  # the queue of those that wait to be taken is short as well
            for _ in range(connections + 100):
                held.enter_context(socket.create_connection(("127.0.0.1", started.port), timeout=3))
        time.sleep(0.5)
    time.sleep(0.2)
    assert httpx.get(f"{started.address}/livez", timeout=10).status_code == 200
    log = started.log.read_text()
    assert log.count(f"only {files} files here: at most {connections} connections at once instead of 2000") == 1
    assert "Traceback" not in log


async def _path(scope, receive, send) -> None:
    said = f"path {scope['path']} raw {scope['raw_path'].decode()} query {scope['query_string'].decode()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": said})


def _ask(address: tuple[str, int], target: bytes, *, more: bytes = b"") -> bytes:
    head = b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + more + b"\r\n"
    return _answer_until_closed(address, head)[0]


# The request line of a client that takes the server for a proxy (RFC 9112, 3.2.2): its path is what is asked for, and
# the token is asked for by the path that is routed.
@pytest.mark.parametrize(
    ("target", "routed"),
    [
        (b"http://x/livez", b"path /livez raw /livez query "),
        (b"HTTPS://user@x:8080/livez", b"path /livez raw /livez query "),
        (b"http://x//livez", None),
        (b"http://x", None),
        (b"http://x?/livez", None),
        (b"http://x/v1/model", None),
        (b"http://livez/v1/model?a=b", None),
        (b"http://x/http://x/livez", None),
        (b"http://x/%2e/livez", None),
        (b"http://x%2flivez", None),
        (b"/http://x/livez", None),
        (b"http:///livez", None),
        (b"ftp://x/livez", None),
    ],
)
def test_an_absolute_address_in_the_request_line(monkeypatch: pytest.MonkeyPatch, target, routed) -> None:
    guarded = Gatekeeper(_path, limits=Limits(), metrics=Metrics(), token="open sesame")
    with _serving(monkeypatch, guarded) as address:
        came = _ask(address, target)
        assert came.startswith(b"HTTP/1.1 401 " if routed is None else b"HTTP/1.1 200 "), came
        assert routed is None or came.count(routed)
        if target == b"http://livez/v1/model?a=b":
            came = _ask(address, target, more=b"Authorization: Bearer open sesame\r\n")
            assert came.count(b"path /v1/model raw /v1/model query a=b"), came


def test_token_refuses_to_start_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(server.TOKEN, raising=False)
    with pytest.raises(InputError, match="GAZE_SERVING_TOKEN is not set"):
        command.main(["--token"])


# Two worker processes behind one port: each knows the token, and whichever is asked has the figures of both.
def test_workers_know_the_token_and_count_together(make_version, start_server) -> None:
    make_version()
    stages.promote("gaze-tracker", 1)
    started = start_server("--workers", "2", "--token", environment={server.TOKEN: "open sesame"})
    started.client.headers["Authorization"] = "Bearer open sesame"
    started.wait_ready(1)
    statuses: collections.Counter[int] = collections.Counter()
    end = time.monotonic() + 60
    while statuses[200] < 30 and time.monotonic() < end:
        # A connection each, so that both workers get some.
        answer = httpx.post(f"{started.address}/v1/gaze", **JPEG, timeout=60, auth=_bearer)
        statuses[answer.status_code] += 1
        time.sleep(0.2 if answer.status_code == 503 else 0)
    assert statuses[200] == 30, statuses
    assert httpx.post(f"{started.address}/v1/gaze", **JPEG).status_code == 401
    for _ in range(8):
        text = httpx.get(f"{started.address}/metrics", auth=_bearer).text
        assert re.search(r'gaze_requests_total\{route="/v1/gaze",status="200"\} 30\.0', text), text
        assert 'gaze_rejected_total{reason="token"} 1.0' in text


def _bearer(request: httpx.Request) -> httpx.Request:
    request.headers["Authorization"] = "Bearer open sesame"
    return request


# A service manager ends what it started, by its process id: nothing of the app may live on.
def test_the_app_ends_when_it_is_told_to(tracking: str, tmp_path) -> None:
    pytest.importorskip("streamlit")
    port = _free_port()
    command_line = [sys.executable, "-m", "serving", "app", "--port", str(port)]
    with (tmp_path / "app.log").open("wb") as log:
        app = subprocess.Popen(command_line, cwd=Path(__file__).parents[2], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and app.poll() is None and not _answers(port):
            time.sleep(0.1)
        assert _answers(port), (tmp_path / "app.log").read_text()
        app.send_signal(signal.SIGTERM)
        app.wait(timeout=20)
        time.sleep(0.2)
        assert not _answers(port)
    finally:
        app.kill()
        app.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _start_in_a_session(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Servers start as at a terminal of their own, after this of the shell; the tests' may heed no signals."""
    popen = subprocess.Popen

    def start(command, **options):
        as_at_a_terminal = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
        words = ["/bin/sh", "-c", f'{before}exec "$@"', "sh", *command]
        return popen(words, **options, start_new_session=True, preexec_fn=as_at_a_terminal)

    monkeypatch.setattr(subprocess, "Popen", start)


# A terminal that is closed ends the server as SIGTERM does, and all of its processes hear of that at once; the status
# says so. `nohup` goes on.
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_closed_terminal_ends_the_server_in_order(make_version, start_server, monkeypatch, workers) -> None:
    make_version()
    stages.promote("gaze-tracker", 1)
    _start_in_a_session(monkeypatch, "")
    started = start_server("--workers", workers)
    started.wait_ready(1)
    os.killpg(started.process.pid, signal.SIGHUP)
    assert started.process.wait(60) == 129
    log = started.log.read_text()
    assert log.count("Finished server process") == int(workers)
    assert "Traceback" not in log and "restarting" not in log, log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_under_nohup_outlives_its_terminal(tracking, start_server, monkeypatch, workers) -> None:
    _start_in_a_session(monkeypatch, 'trap "" HUP; ')
    started = start_server("--workers", workers)
    started.wait_until(lambda state: state["problem"] != "")
    os.killpg(started.process.pid, signal.SIGHUP)
    time.sleep(1)
    assert httpx.get(f"{started.address}/livez", timeout=10).status_code == 200
    assert "SIGHUP" not in started.log.read_text()


# A worker that takes seconds to import what it needs, on a slow or busy machine, is waited for.
def test_workers_that_take_long_to_start_are_waited_for(tracking, tmp_path, start_server) -> None:
    late = "import sys, time\nif '--multiprocessing-fork' in sys.orig_argv:\n    time.sleep(7)\n"
    (tmp_path / "sitecustomize.py").write_text(late)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    started = start_server("--workers", "2", environment={"PYTHONPATH": path})
    started.wait_until(lambda state: state["problem"] != "", seconds=90)
    log = started.log.read_text()
    assert "died" not in log and log.count("Started server process") <= 2, log


# One that dies before it gave a sign of life, killed for memory or by its terminal, is begun again at once.
def test_a_worker_that_dies_while_it_starts_is_begun_again(tracking, start_server) -> None:
    started = start_server("--workers", "2")
    parent, workers = psutil.Process(started.process.pid), []
    while not workers:
        time.sleep(0.02)
        workers = [one for one in parent.children() if "spawn_main" in " ".join(one.cmdline())]
    workers[0].kill()
    began = time.monotonic()
    started.wait_until(lambda state: state["problem"] != "", seconds=60)
    while started.log.read_text().count("Started server process") < 2:
        assert time.monotonic() - began < 60, started.log.read_text()
        time.sleep(0.1)
    assert f"Child process [{workers[0].pid}] died" in started.log.read_text()
    began = time.monotonic()
    assert started.stop() == 0
    assert time.monotonic() - began < 30


# A registry that is down is one line, however often it is asked; the workers' lines look as those of a lone server.
@pytest.mark.parametrize("workers", [1, 2])
def test_a_registry_that_is_down_is_logged_once(tracking, start_server, workers) -> None:
    address = f"http://127.0.0.1:{_free_port()}"
    environment = {"MLFLOW_TRACKING_URI": address, "MLFLOW_REGISTRY_URI": address}
    started = start_server("--workers", str(workers), "--poll", "0.2", environment=environment)
    started.wait_until(lambda state: "does not answer" in state["problem"])
    time.sleep(4)
    lines = started.log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d [\d:,]+ (INFO|WARNING) [\w.]+: ", line) for line in lines), lines
    warnings = [line for line in lines if " WARNING " in line]
    assert len(warnings) == workers, warnings
    assert all(f"serving.follower: MLflow at {address} does not answer" in line for line in warnings), warnings
