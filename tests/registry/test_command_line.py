"""How commands end: one line that says what a server's refusal means, and nothing left beside the project's folder."""

import http.server
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow.server.security_utils import INVALID_HOST_MSG

ROOT = Path(__file__).parents[2]
LIST = [sys.executable, "-m", "registry", "list"]


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that answers everything with one status and text."""

    status, text = 500, ""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.text.encode())

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


REFUSALS = [
    (403, INVALID_HOST_MSG, "--allowed-hosts 127.0.0.1:"),
    (403, "Permission denied", "Permission denied; check the user name and its rights"),
    (401, "You are not authenticated", "MLFLOW_TRACKING_USERNAME"),
    (404, "<!doctype html><style>b {}</style><title>Not Found</title>", "Not Found; it knows no such page"),
    (413, "<html>Request Entity Too Large</html>", "raise the proxy's limit (nginx: client_max_body_size"),
    (507, "Insufficient Storage", "its disk is full; make room"),
]


def test_what_a_refusal_means_depends_on_what_was_refused(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    from registry.command_line import tracking_problem

    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: refusing)
    for status, text, says in REFUSALS:
        Refusing.status, Refusing.text = status, text
        with pytest.raises(MlflowException) as raised:
            MlflowClient(refusing, refusing).get_registered_model("gaze-tracker")
        line = tracking_problem(raised.value)
        assert f"refused registered-models/get (HTTP {status}): " in line
        assert says in line
        assert "<" not in line
        assert ("rights" in line) == (text == "Permission denied")


ANSWERS = [
    (
        200,
        "<!doctype html><title>Sign in</title>",
        "answers with an HTML page (a login page or a proxy?): 'Sign in'",
    ),
    (200, '{"ok": true}', "is no MLflow server; set MLFLOW_TRACKING_URI"),
    (200, "", "is no MLflow server; set MLFLOW_TRACKING_URI"),
    (200, "OK", "is no MLflow server (it answers 'OK'); set MLFLOW_TRACKING_URI"),
    (429, "slow down", ": too many requests (429); try again later"),
    (500, "", ": HTTP 500 from it or a proxy before it; look at their logs"),
    (502, "<html>Bad Gateway</html>", ": HTTP 502 from it or a proxy before it; look at their logs, start it"),
    (504, "", ": HTTP 504 from it or a proxy before it: it takes too long"),
]


# One line for all commands, as the journeys show; those of training import for seconds what trains.
@pytest.mark.parametrize(
    ("command", "status", "text", "says"),
    [("registry", *answer) for answer in ANSWERS] + [("training", *answer) for answer in ANSWERS[:1]],
)
def test_what_answers_and_is_no_mlflow_is_not_said_to_be_silent(
    command: str, status: int, text: str, says: str, refusing: str, tmp_path: Path
) -> None:
    Refusing.status, Refusing.text = status, text
    words = ["registry", "list"] if command == "registry" else ["training", "evaluate", "--model", "models:/m/1"]
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": refusing, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "waiting for it" not in line]
    assert line.startswith("error: ")
    assert refusing in line
    assert says in line
    assert "does not answer" not in line


def test_an_upload_that_a_proxy_refuses_is_one_line(
    refusing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    from registry import command_line

    Refusing.status, Refusing.text = 413, "<html>Request Entity Too Large</html>"
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: refusing)
    (tmp_path / "model.safetensors").write_bytes(b"weights")

    def upload(argv: list[str] | None) -> int:
        place = f"{refusing}/api/2.0/mlflow-artifacts/artifacts/1"
        HttpArtifactRepository(place).log_artifact(str(tmp_path / "model.safetensors"))
        return 0

    with pytest.raises(SystemExit) as ended:
        command_line.leave(upload)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"error: MLflow at {refusing} refused the artifact model.safetensors (HTTP 413): Request Ent"
    )
    assert "client_max_body_size" in line


def test_a_model_that_may_not_be_changed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import RestException

    from registry.command_line import tracking_problem

    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://registry.example")
    line = tracking_problem(RestException({"error_code": "PERMISSION_DENIED", "message": "Permission denied"}))
    assert line.startswith("MLflow at http://registry.example refused: PERMISSION_DENIED: Permission denied; check the")
    assert "EDIT" in line


# MLflow takes its database's address from the folder, quoted, and makes the quoted folder as well.
@pytest.mark.parametrize("name", ["my drive ü", "p%20q r"])
def test_a_folder_that_is_not_its_own_address_gets_no_twin(name: str, tmp_path: Path, empty_database: bytes) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_database)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    code = (
        "import sys; from registry.command_line import leave\n"
        "def main(argv):\n"
        "    import mlflow; client = mlflow.MlflowClient(); client.search_registered_models()\n"
        "    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as bars\n"
        "    print(bars.get()); return 0\n"
        "leave(main)"
    )
    # As a command of ours started by hand, and as one that `mlflow run` starts after it has made the twin.
    twin = tmp_path / quote(name)
    twin.mkdir()
    handed_down = {"MLFLOW_TRACKING_URI": f"sqlite:///{twin}/mlflow.db"}
    for given in (handed_down, {}):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=variables | given | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "False\n"  # no bars between the last lines
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_command_in_a_folder_without_a_registry_leaves_none_there(tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    done = subprocess.run(LIST, cwd=tmp_path, env=variables | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no registry: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


RAISED = [
    ("(sqlite3.OperationalError) attempt to write a readonly database [SQL: INSERT INTO x]", "writable"),
    ("(sqlite3.OperationalError) database or disk is full [SQL: INSERT INTO x]", "make room"),
    ("(sqlite3.DatabaseError) database disk image is malformed [SQL: PRAGMA x] (Background on this: …)", "a backup"),
    ("(sqlite3.OperationalError) database is locked (Background on this: …)", "holds the file"),
    ("(sqlite3.OperationalError) no such table: registered_models [SQL: SELECT x]", "a backup"),
    (
        '(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "pg_type" [SQL: CREATE x]',
        "run the same again",
    ),
    (
        '(psycopg2.OperationalError) FATAL:  password authentication failed for user "ann" (Background on this: …)',
        "check the user and the password in the address",
    ),
    ("(pymysql.err.OperationalError) (1205, 'Lock wait timeout exceeded') [SQL: INSERT x]", "look at the database"),
    ("Detected out-of-date database schema (found version ffffffffffff, but expected x). Take", "newer MLflow"),
    ("Detected out-of-date database schema (found version 451aebb31d03, but expected x). Take", "`mlflow db upgrade "),
]


@pytest.mark.parametrize(("text", "says"), RAISED)
def test_what_is_wrong_with_the_database_is_said_without_its_statements(
    text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.command_line import tracking_problem

    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "sqlite:///mlflow.db")
    line = tracking_problem(Exception(text))
    assert line.startswith("MLflow at sqlite:///mlflow.db: ")
    assert says in line
    assert "SQL:" not in line
    assert "Background" not in line
    assert ("db upgrade" in line) == (says == "`mlflow db upgrade ")


def test_the_advised_upgrade_takes_a_path_with_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.command_line import tracking_problem

    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "sqlite:////srv/my drive/mlflow.db")
    line = tracking_problem(Exception(RAISED[-1][0]))
    assert "`mlflow db upgrade 'sqlite:////srv/my drive/mlflow.db'`" in line


@pytest.mark.parametrize("driver", ["sqlite3", "psycopg2"])
def test_what_the_database_raises_past_mlflow_is_one_line(
    driver: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import DatabaseError

    from registry import command_line

    raised = importlib.import_module(driver).DatabaseError

    def stumble(argv: list[str] | None) -> int:
        raise DatabaseError("SELECT 1", None, raised("it is malformed"))

    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "sqlite:///mlflow.db")
    with pytest.raises(SystemExit) as ended:
        command_line.leave(stumble)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_full_disk_is_one_line_wherever_it_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    from registry import command_line

    def fill_up(argv: list[str] | None) -> int:
        raise OSError(28, "No space left on device", "report/page.html")

    with pytest.raises(SystemExit) as ended:
        command_line.leave(fill_up)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: disk full: cannot write report/page.html; free some disk space")
