"""The server process: its settings reach what they are for, its workers count together, the app ends with it."""

import collections
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import packages
import pytest
import uvicorn

from recording.exceptions import InputError
from registry import stages
from registry.addresses import Selector
from serving import __main__ as command
from serving import server
from serving.limits import Limits

JPEG = {"content": packages.picture(10, -5), "headers": {"content-type": "image/jpeg"}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def _hello(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


# A connection that says nothing is closed after the seconds of the limits, not after fifteen.
def test_silent_connections_are_closed_after_head_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[uvicorn.Server] = []

    def in_a_thread(app: str, *, factory: bool, workers: int, **options) -> None:
        made.append(uvicorn.Server(uvicorn.Config(_hello, lifespan="off", **options)))
        threading.Thread(target=made[0].run, daemon=True).start()

    monkeypatch.setattr(uvicorn, "run", in_a_thread)
    monkeypatch.setenv(server.SETTINGS, "")
    settings = server.Settings(selector=Selector(), limits=Limits(head_seconds=0.3), port=_free_port())
    server.run(settings)
    try:
        end = time.monotonic() + 10
        while not made[0].started and time.monotonic() < end:
            time.sleep(0.01)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", settings.port), timeout=10) as silent:
            assert silent.recv(1) == b""
        assert 0.2 < time.monotonic() - began < 5
        assert httpx.get(f"http://127.0.0.1:{settings.port}/").text == "hello"
    finally:
        made[0].should_exit = True


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
