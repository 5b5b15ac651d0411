"""What registration needs is tried before hours of work depend on it."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import mlflow
import packages
import pytest
from mlflow.exceptions import RestException

from recording.exceptions import InputError, RegistryError
from registry import cli, registration, versions
from training.learning import model

MODEL = "gaze-tracker"


@pytest.fixture
def run_id(tracking: str) -> str:
    with mlflow.start_run() as run:
        return str(run.info.run_id)


def test_all_well_leaves_nothing_behind(make_version: Callable, run_id: str) -> None:
    make_version()
    before = versions.registered(MODEL).tags
    registration.check(MODEL, run_id)
    assert versions.registered(MODEL).tags == before
    assert mlflow.MlflowClient().list_artifacts(run_id) == []
    assert [model.name for model in mlflow.MlflowClient().search_registered_models()] == [MODEL]


def test_a_name_that_cannot_be_registered_is_refused(run_id: str) -> None:
    with pytest.raises(InputError, match="o'brien"):
        registration.check("o'brien", run_id)


# A server with a folder of its own as the artifact root: the client is told the server's path.
def test_artifacts_that_only_the_server_can_write_are_named_with_the_way_out(tracking: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    experiment = mlflow.MlflowClient().create_experiment("x", artifact_location=str(tmp_path / "file" / "mlruns"))
    run = mlflow.MlflowClient().create_run(experiment)
    with pytest.raises(RegistryError, match=r"file/mlruns\S+, which cannot be written .*--artifacts-destination"):
        registration.check(MODEL, run.info.run_id)


def test_who_may_not_change_the_model_is_told_so(
    make_version: Callable, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version()

    def refuse(*_: object) -> None:
        raise RestException({"error_code": "PERMISSION_DENIED", "message": "Permission denied"})

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_tag", refuse)
    with pytest.raises(RegistryError, match="Permission denied"):
        registration.check(MODEL, run_id)


# MLflow takes a path for an address and would unquote it: after search and training, nothing to register was found.
@pytest.mark.parametrize("name", ["a%20b", "50%", "what?", "a#b"])
def test_a_package_is_registered_out_of_any_folder(name: str, run_id: str, tmp_path: Path) -> None:
    packages.make_package(tmp_path / name)
    assert registration.register(tmp_path / name, model_name=MODEL, run_id=run_id) == 1
    assert versions.get(MODEL, 1).number == 1


def test_the_calibration_that_the_verdict_is_reached_against_is_in_tags_card_and_list(
    make_version: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the affine one: only the constant and the linear one were told, which this model beats."""
    kept = packages.make_holdout()
    kept.baselines_deg["affine"] = kept.labels_deg + 0.5
    make_version(holdout=kept, bias_deg=(1, 1))
    make_version(bias_deg=(1, 1))
    first, second = versions.get(MODEL, 1), versions.get(MODEL, 2)
    assert (first.best_calibration, second.best_calibration) == ("affine", "calibrated")
    for angle in ("azimuth", "elevation"):
        assert first.error(f"affine_{angle}_error_deg") == pytest.approx(0.5)
    # What was there keeps its name and its value.
    for name in ("calibrated_azimuth_error_deg", "constant_angular_error_deg", "base_elevation_error_deg"):
        assert first.tags[name] == second.tags[name]
    assert "| affine calibration of the base (the best: the one to beat) | 0.50° | 0.50° |" in first.description
    assert "| linear calibration of the base | " in first.description
    assert "| linear calibration of the base (the best: the one to beat) | " in second.description
    cli.main(["list"])
    newer, older = capsys.readouterr().out.splitlines()[-2:]
    assert "0.50° / 0.50° (affine)" in older and "° (linear)" in newer


def test_a_version_that_does_not_say_which_calibration_is_best_shows_the_linear_one(make_version: Callable) -> None:
    make_version(holdout=packages.make_holdout(baselines=False))
    version = versions.get(MODEL, 1)
    assert versions.BEST_CALIBRATION_TAG not in version.tags and version.best_calibration == "calibrated"
    assert version.error("calibrated_azimuth_error_deg") is not None


class Server(http.server.BaseHTTPRequestHandler):
    """Keeps artifacts for a proxy that lets at most ``limit`` bytes through, and answers ``status`` to more."""

    limit, status = 0, 413
    kept: ClassVar[dict[str, int]] = {}
    seen: ClassVar[list[int]] = []

    def do_PUT(self) -> None:
        """Keep an artifact."""
        size = int(self.headers["Content-Length"])
        self.seen.append(size)
        left = size
        while left and (part := self.rfile.read(min(left, 1 << 20))):
            left -= len(part)
        if size <= self.limit:
            self.kept[self.path] = size
        self.answer(200 if size <= self.limit else self.status)

    def do_DELETE(self) -> None:
        """Remove an artifact."""
        del self.kept[self.path]
        self.answer(200)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"{}" if status == 200 else b"<html>Request Entity Too Large</html>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def run_of_server(tracking: str) -> Iterator[str]:
    """A run whose artifacts go to a :class:`Server`."""
    Server.kept.clear()
    Server.seen.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{server.server_port}/api/2.0/mlflow-artifacts/artifacts/x"
    client = mlflow.MlflowClient()
    yield client.create_run(client.create_experiment("x", artifact_location=place)).info.run_id
    server.shutdown()
    server.server_close()


LIMITS = [(413, "raise the proxy's limit (nginx: client_max_body_size"), (507, "its disk is full; make room where it")]


# nginx lets 1 MB through: found when the search of an hour was to be registered.
@pytest.mark.parametrize(("status", "says"), LIMITS)
def test_a_limit_below_a_models_size_is_found_before_the_work(status: int, says: str, run_of_server: str) -> None:
    Server.limit, Server.status = 1 << 20, status
    with pytest.raises(
        RegistryError, match=rf"a file of 46 MB, as a model has, is refused \(HTTP {status}\)"
    ) as raised:
        registration.check(MODEL, run_of_server)
    assert says in str(raised.value)
    assert "rights" not in str(raised.value)
    assert Server.kept == {}
    registration.check_artifacts(run_of_server)  # of a command that registers nothing
    Server.limit = registration.LARGEST_BYTES
    registration.check(MODEL, run_of_server)
    assert Server.kept == {}


def test_folders_of_this_machine_are_not_tried_with_a_large_file(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration.os, "truncate", lambda *_: pytest.fail("a large file is written"))
    registration.check(MODEL, run_id)


def test_what_is_tried_is_as_large_as_a_network() -> None:
    network = model.build().state_dict()
    size = sum(weights.numel() * weights.element_size() for weights in network.values())
    assert size < registration.LARGEST_BYTES < 1.05 * size
