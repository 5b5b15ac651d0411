"""A tracking server that goes away: said at once, waited for, but not by a command that is ending."""

import http.server
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from recording.exceptions import RegistryError
from registry import interruption, outage, project
from registry.command_line import tracking_problem
from training import tracking
from training.interruption import handler

NOBODY = "http://127.0.0.1:9"


class Ailing(http.server.BaseHTTPRequestHandler):
    """Answers with a proxy's 502 so many times, and then with an empty run."""

    failures, asked = 0, 0

    def do_POST(self) -> None:
        Ailing.asked += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(502 if Ailing.asked <= Ailing.failures else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def ailing() -> Iterator[str]:
    Ailing.asked = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ailing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def announced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    logger = logging.getLogger("urllib3.util.retry")
    level = logger.level
    outage.announce()
    outage.announce()
    yield
    logger.setLevel(level)
    logger.filters.clear()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "registry.outage"]


def test_a_server_that_does_not_answer_is_one_line_while_it_is_asked_again(caplog, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: NOBODY)
    with pytest.raises(MlflowException):
        mlflow.MlflowClient(NOBODY).set_tag("1", "key", "value")
    assert told(caplog) == [f"MLflow at {NOBODY} does not answer; waiting for it"]


def test_a_server_that_is_away_for_some_seconds_fails_nothing(ailing, caplog, monkeypatch) -> None:
    monkeypatch.setattr(Ailing, "failures", 3)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: ailing)
    mlflow.MlflowClient(ailing).set_tag("1", "key", "value")
    assert Ailing.asked == 4
    assert told(caplog) == [f"MLflow at {ailing} answers HTTP 502; waiting for it"]


def test_whoever_is_told_to_end_asks_once(ailing, monkeypatch) -> None:
    monkeypatch.setattr(Ailing, "failures", 100)
    handler()(signal.SIGTERM, None)  # while modules are imported: only remembered
    with pytest.raises(MlflowException):
        mlflow.MlflowClient(ailing).set_tag("1", "key", "value")
    assert Ailing.asked == 1
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == str(interruption.ANSWER_S)


@pytest.mark.usefixtures("tracking")
@pytest.mark.parametrize("ended", [KeyboardInterrupt, ZeroDivisionError])
def test_a_command_ends_as_it_does_where_mlflow_cannot_be_told(ended, caplog, monkeypatch) -> None:
    """And the run is not ended again, with all of MLflow's patience and as FINISHED, when Python exits."""
    asked = []

    def refused(*given: object) -> None:
        asked.append(time.monotonic())
        raise MlflowException("Connection refused")

    with pytest.raises(ended), tracking.tracked_run("job") as run_id:
        monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", refused)
        raise ended
    assert mlflow.active_run() is None
    (line,) = told(caplog)
    assert line.startswith(f"run {run_id} still says RUNNING: MLflow at ")
    assert len(asked) == 1


@pytest.mark.usefixtures("tracking")
def test_what_mlflow_refuses_after_a_search_says_how_to_go_on(monkeypatch) -> None:
    denied = MlflowException("Permission denied", error_code=PERMISSION_DENIED)
    monkeypatch.setattr(tracking, "ask_once", lambda: None)
    with (
        pytest.raises(RegistryError, match=r"Permission denied.*; then study=june goes on with what is done$"),
        tracking.tracked_run("job", "study=june") as run_id,
    ):
        raise denied
    assert mlflow.get_run(run_id).info.status == "FAILED"
    assert "Permission denied" in mlflow.get_run(run_id).data.tags["error"]


def test_a_server_that_hides_the_usual_experiment_is_one(monkeypatch) -> None:
    def hide(name: str) -> None:
        raise MlflowException("Permission denied", error_code=PERMISSION_DENIED)

    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: NOBODY)
    monkeypatch.setattr("mlflow.get_experiment_by_name", hide)
    tracking._check_server()


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that takes connections and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr(outage, "FIRST_ANSWER_S", 1)


@pytest.mark.usefixtures("twice")
def test_a_server_that_hangs_is_said_soon_and_later_questions_have_their_time(hanging, caplog, monkeypatch) -> None:
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", hanging)
    began = time.monotonic()
    with pytest.raises(MlflowException) as error:
        tracking._check_server()
    assert time.monotonic() - began < 30, "each of MLflow's attempts waits for two minutes"
    assert told(caplog) == [f"MLflow at {hanging} does not answer; waiting for it"]
    assert tracking_problem(error.value).startswith(f"MLflow at {hanging} does not answer; start it, or set MLFLOW_")
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


@pytest.mark.usefixtures("twice")
def test_how_long_the_first_question_waits_is_the_users_where_it_is_set(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "40")
    with outage.asked_first():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "40"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "40"


def test_whoever_is_told_to_end_in_the_first_question_waits_no_longer_afterwards() -> None:
    with outage.asked_first():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == str(outage.FIRST_ANSWER_S) == "15"
        interruption.ask_once()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == str(interruption.ANSWER_S)


def test_a_command_of_mlflow_run_that_ends_early_ends_as_it_does_without_mlflow(caplog, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "1")
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", NOBODY)
    interruption.ask_once()
    project.end_unstarted("KILLED", "interrupted")
    assert "run 1 still says RUNNING" in told(caplog)[-1]
