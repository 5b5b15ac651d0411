import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import packages
import pytest

from recording.exceptions import NoSuchVersion, RegistryError
from registry import contract, stages
from registry.addresses import Selector
from serving.follower import Follower
from serving.loader import Loader
from serving.metrics import Metrics
from training.learning import model
from training.reporting import package

ROOT = Path(__file__).parents[2]
JPEG = packages.picture(0, 0)


def _follower(tmp_path: Path, **selector) -> Follower:
    return Follower(Loader(Selector(**selector), tmp_path / "cache"), poll=1.0, metrics=Metrics())


def _answer(follower: Follower) -> tuple[float, float]:
    import numpy as np

    from serving import pictures

    azimuth, elevation = follower.current.predict(np.stack([pictures.read(JPEG, "zero")]))[0]
    return azimuth, elevation


def _move(number: int) -> None:
    """Promote as MLflow's own page does it: nothing is checked."""
    client = mlflow.MlflowClient()
    client.transition_model_version_stage("gaze-tracker", str(number), "Production", archive_existing_versions=True)


def _artifact(number: int, name: str) -> Path:
    source = mlflow.MlflowClient().get_model_version("gaze-tracker", str(number)).source
    local = mlflow.artifacts.download_artifacts(source)
    (found,) = Path(local.removeprefix("file://")).rglob(name)
    return found


# A promotion is followed, also one back to a lower number.
def test_follows_promotions(make_version, tmp_path) -> None:
    for bias in ((0, 0), (5, 0)):
        make_version(bias_deg=bias)
    follower = _follower(tmp_path)
    for number, azimuth in ((1, 0), (2, 5), (1, 0)):
        _move(number)
        follower.check()
        assert follower.current.version == number
        assert _answer(follower)[0] == pytest.approx(azimuth, abs=0.3)
        assert not follower.standing.stale


def _flip_a_byte(number: int) -> None:
    path = _artifact(number, contract.NETWORK)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _lose_a_file(number: int) -> None:
    _artifact(number, contract.WEIGHTS).unlink()


def _cut_short(number: int) -> None:
    path = _artifact(number, contract.NETWORK)
    path.write_bytes(path.read_bytes()[:100])


def _change_contract(number: int) -> None:
    path = _artifact(number, contract.FILE_NAME)
    path.write_text(path.read_text().replace('"contract_version": 3', '"contract_version": 2'))


def _other_answers(number: int) -> None:
    # Every digest fits, but the golden pictures were answered by another network.
    path = _artifact(number, contract.FILE_NAME)
    import hashlib
    import json

    fields = json.loads(path.read_text())
    fields["golden"][0]["azimuth_deg"] += 1
    fields["seal"] = "0" * 64
    text = json.dumps(fields, indent=1)
    path.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))


# A broken version never answers, the old one does; a good one after it is taken.
@pytest.mark.parametrize("damage", [_flip_a_byte, _lose_a_file, _cut_short, _change_contract, _other_answers])
def test_broken_version_never_answers(make_version, tmp_path, damage) -> None:
    for bias in ((0, 0), (5, 0), (9, 0)):
        make_version(bias_deg=bias)
    follower = _follower(tmp_path)
    _move(1)
    follower.check()
    damage(2)
    _move(2)
    follower.check()
    assert follower.current.version == 1
    assert (follower.current.label, follower.current.since) == ("", ""), "version 2 is in Production"
    assert follower.standing.failed_version == 2
    assert follower.standing.failures == 1
    assert "version 2 is not taken into use" in follower.standing.problem
    assert "version 1 goes on answering" in follower.standing.problem
    assert _answer(follower)[0] == pytest.approx(0, abs=0.3)
    _move(3)
    follower.check()
    assert follower.current.version == 3
    assert follower.standing.problem == ""


# A half-uploaded version is tried again, later and later, said once in the log, and taken when it is whole.
def test_half_uploaded_version_is_taken_when_whole(make_version, tmp_path, caplog) -> None:
    make_version()
    make_version(bias_deg=(5, 0))
    now = [0.0]
    follower = Follower(Loader(Selector(), tmp_path / "cache"), poll=1.0, metrics=Metrics(), clock=lambda: now[0])
    _move(1)
    follower.check()
    path = _artifact(2, contract.NETWORK)
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    _move(2)
    attempts = []
    for second in range(16):
        now[0] = float(second)
        follower.check()
        attempts.append(follower.standing.failures)
    assert attempts[-1] == 5  # at 0, 1, 3, 7 and 15 s
    assert sum("not taken into use" in message for message in caplog.messages) == 1
    path.write_bytes(whole)
    now[0] = 100.0
    follower.check()
    assert follower.current.version == 2


# The old network is freed when its last request has gone.
def test_old_version_is_freed(make_version, tmp_path) -> None:
    import gc
    import weakref

    make_version()
    make_version()
    follower = _follower(tmp_path)
    _move(1)
    follower.check()
    in_flight = follower.current
    old = weakref.ref(in_flight)
    _move(2)
    follower.check()
    assert old() is in_flight
    del in_flight
    gc.collect()
    assert old() is None


# Alias and fixed version are followed as well; what is not there is said in one line.
def test_alias_and_version(make_version, tmp_path) -> None:
    for _ in range(3):
        make_version()
    mlflow.MlflowClient().set_registered_model_alias("gaze-tracker", "canary", "2")
    by_alias, fixed = _follower(tmp_path, alias="canary"), _follower(tmp_path, version=3)
    for follower, number in ((by_alias, 2), (fixed, 3)):
        follower.check()
        assert follower.current.version == number
    mlflow.MlflowClient().set_registered_model_alias("gaze-tracker", "canary", "1")
    by_alias.check()
    assert by_alias.current.version == 1
    for selector in (Selector(alias="none"), Selector(version=9), Selector(model="other")):
        with pytest.raises(NoSuchVersion):
            Loader(selector, tmp_path / "cache").find()


# Emptying the stage takes nothing out of use: a server does not fall silent because of a demotion. What answers does
# not claim the stage any more, until it is in it again.
def test_emptied_stage_keeps_answering(make_version, tmp_path) -> None:
    make_version()
    _move(1)
    follower = _follower(tmp_path)
    follower.check()
    mlflow.MlflowClient().transition_model_version_stage("gaze-tracker", "1", "None")
    follower.check()
    assert follower.current.version == 1
    assert "promote" in follower.standing.problem
    assert follower.current.identity == {"model": "gaze-tracker", "version": 1, "stage": ""}
    assert not follower.current.since
    _move(1)
    follower.check()
    assert follower.current.identity["stage"] == "Production"
    assert follower.current.since and not follower.standing.problem


# The local copy answers after a restart without the registry; a damaged copy does not.
def test_local_copy(make_version, tmp_path) -> None:
    make_version()
    _move(1)
    loader = Loader(Selector(), tmp_path / "cache")
    loader.load(loader.find())
    found, predictor = Loader(Selector(), tmp_path / "cache").last_good()
    assert (found.version, predictor.version) == (1, 1)
    (path,) = (tmp_path / "cache").rglob(contract.NETWORK)
    path.write_bytes(path.read_bytes()[:-1])
    assert Loader(Selector(), tmp_path / "cache").last_good() is None
    assert loader.load(loader.find()).version == 1  # fetched again


# A database file that is not there has confirmed nothing, as a registry that is down has not: neither the local copy of
# a server that starts, nor what answers already. Moved back, it is followed again.
def test_a_database_that_is_not_there_is_no_answer_of_the_registry(make_version, tmp_path) -> None:
    make_version()
    _move(1)
    follower = _follower(tmp_path)
    follower.check()
    heard = follower.standing.checked
    (tmp_path / "mlflow.db").rename(tmp_path / "away.db")
    restarted = _follower(tmp_path)
    restarted._use(*restarted._loader.last_good())
    for asking, checked in ((follower, heard), (restarted, 0.0)):
        asking.check()
        assert (asking.standing.stale, asking.standing.checked) == (True, checked)
        assert "mlflow.db does not exist" in asking.standing.problem
        assert asking.current.identity == {"model": "gaze-tracker", "version": 1, "stage": "Production"}
    assert not (tmp_path / "mlflow.db").exists()
    (tmp_path / "away.db").rename(tmp_path / "mlflow.db")
    restarted.check()
    assert not restarted.standing.stale and not restarted.standing.problem


# Only the last few copies stay on disk.
def test_copies_are_pruned(make_version, tmp_path) -> None:
    loader = Loader(Selector(), tmp_path / "cache")
    for number in [make_version() for _ in range(5)]:
        _move(number)
        loader.load(loader.find())
    assert len(list((tmp_path / "cache").rglob(contract.NETWORK))) == 3


def test_no_registry_is_a_registry_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        with pytest.raises(RegistryError, match="does not answer"):
            Loader(Selector(), tmp_path / "cache").find()
    finally:
        mlflow.set_tracking_uri(None)


def _tracking_server(tmp_path: Path, port: int) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", "--serve-artifacts"),
            *("--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"),
            *("--artifacts-destination", str(tmp_path / "mlartifacts")),
        ],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(process: subprocess.Popen) -> None:
    import os
    import signal

    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=30)


# Registry killed and back, server restarted meanwhile: it goes on answering, says stale, then follows again.
def test_registry_dies_and_comes_back(make_version, tmp_path, start_server) -> None:
    make_version()
    make_version(bias_deg=(5, 0))
    stages.promote("gaze-tracker", 1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    registry = _tracking_server(tmp_path, port)
    environment = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    raw = {"content": JPEG, "headers": {"content-type": "image/jpeg"}}
    try:
        server = start_server("--poll", "0.5", environment=environment)
        server.wait_ready(1)
        _end(registry)
        server.wait_until(lambda s: s["ready"] and s["stale"] and "does not answer" in s["problem"])
        assert server.client.post("/v1/gaze", **raw).json()["version"] == 1
        assert server.stop() in (0, -signal.SIGTERM)  # uvicorn finishes its requests, then raises the signal again
        server = start_server("--poll", "0.5", environment=environment)
        server.wait_until(lambda s: s["ready"] and s["stale"])
        assert server.client.post("/v1/gaze", **raw).json()["version"] == 1
        _move(2)
        registry = _tracking_server(tmp_path, port)
        server.wait_ready(2)
        assert server.client.post("/v1/gaze", **raw).json()["version"] == 2
    finally:
        if registry.poll() is None:
            _end(registry)


@pytest.fixture(scope="module")
def real_graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A network of the size that people serve, of random weights."""
    folder = tmp_path_factory.mktemp("real")
    package.export(model.build(), folder)
    return (folder / contract.NETWORK).read_bytes()


def _is_fetching(server) -> bool:
    return any(server.log.parent.glob("cache/*/.arriving-*"))


def _has_openvino(server) -> bool:
    return "libopenvino" in Path(f"/proc/{server.process.pid}/maps").read_text()


# Told to end while it loads: what Python cut off in the C++ of ONNX Runtime or OpenVINO aborted the process, what it
# cut off in a fetch said that the version was broken.
@pytest.mark.parametrize(("moment", "after"), [(_is_fetching, 0), (_has_openvino, 0), (_has_openvino, 0.7)])
def test_a_server_that_loads_a_version_ends_in_order(
    make_version, real_graph, tmp_path, start_server, moment, after
) -> None:
    make_version(graph=real_graph)
    stages.promote("gaze-tracker", 1, force=True, why="a network of random weights")
    server = start_server()
    end = time.monotonic() + 60
    while not moment(server):
        assert time.monotonic() < end and server.process.poll() is None, server.log.read_text()
        time.sleep(0.005)
    time.sleep(after)
    began = time.monotonic()
    assert server.stop() == 0, server.log.read_text()
    assert time.monotonic() - began < 10
    lines = server.log.read_text().splitlines()
    assert "Finished server process" in lines[-1], lines
    assert not [line for line in lines if "not taken into use" in line]
    assert not any(tmp_path.glob("cache/*/.arriving-*"))


# Started where nobody answers at all, it waits for that no longer than a few seconds when it is told to end.
def test_a_server_that_asks_a_registry_that_hangs_ends_soon(tracking, start_server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as registry:
        address = f"http://127.0.0.1:{registry.getsockname()[1]}"
        server = start_server(environment={"MLFLOW_TRACKING_URI": address, "MLFLOW_REGISTRY_URI": address})
        registry.settimeout(60)
        with registry.accept()[0]:
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 15
    assert "Traceback" not in server.log.read_text()


# The server's process has no torch, is up in under 3 s after the interpreter, and takes less than 400 MB with a network
# of the size that people serve; where it has compared two precisions, the allocator may keep 50 MB more.
@pytest.mark.parametrize(("precision", "megabytes"), [("float32", 400), ("auto", 450)])
def test_start_is_light(make_version, real_graph, start_server, precision, megabytes) -> None:
    make_version(graph=real_graph)
    stages.promote("gaze-tracker", 1, force=True, why="a network of random weights")
    began = time.monotonic()
    server = start_server("--poll", "1", "--precision", precision)
    while True:
        try:
            if server.client.get("/livez").status_code == 200:
                break
        except Exception:
            assert time.monotonic() - began < 30, server.log.read_text()
            time.sleep(0.02)
    lively = time.monotonic() - began
    # CPU seconds: the wall clock of a shared machine says more about its neighbours.
    used = sum(map(int, Path(f"/proc/{server.process.pid}/stat").read_text().split()[13:15])) / 100
    assert min(lively, used) < 3
    server.wait_ready(1)
    for _ in range(20):
        server.client.post("/v1/gaze", content=JPEG, headers={"content-type": "image/jpeg"})
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "torch" not in loaded and "libarrow" not in loaded
    assert server.resident_mib() < megabytes * 1e6 / 2**20
    print(f"answers /livez after {lively:.1f} s, {server.resident_mib():.0f} MiB")


def test_serving_imports_no_torch() -> None:
    code = (
        "import sys; import serving.server, serving.predict, serving.loader, serving.follower, registry.stages\n"
        "assert not {'torch', 'training'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# Versions are served from their own few requirements; whoever needs more of recording/ imports it where it is used.
@pytest.mark.parametrize("module", ["registry.contract", "serving.server"])
def test_what_only_training_needs_is_not_loaded(module) -> None:
    code = f"import sys, {module}; assert not {{'skimage', 'scipy', 'av', 'pandas', 'pyarrow'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_server_module_waits_with_mlflow() -> None:
    code = "import sys; import serving.server; assert 'mlflow' not in sys.modules and 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_server_follows_a_database_file_that_takes_the_place_of_another(make_version, tmp_path, start_server) -> None:
    for _ in range(2):
        make_version()
    _move(1)
    shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "backup.db")
    _move(2)
    server = start_server("--poll", "0.2")
    server.wait_ready(2)
    file = tmp_path / "mlflow.db"
    file.rename(tmp_path / "damaged.db")
    shutil.copyfile(tmp_path / "backup.db", file)
    server.wait_ready(1)
    file.rename(tmp_path / "away.db")
    file.touch()
    said = server.wait_until(lambda said: said["stale"])
    assert "mlflow.db is empty" in said["problem"]
    assert said["ready"] and said["version"] == 1
    (tmp_path / "damaged.db").replace(file)
    server.wait_ready(2)


def test_what_nobody_foresaw_is_told_with_its_words(make_version, tmp_path, monkeypatch) -> None:
    make_version()
    _move(1)
    follower = _follower(tmp_path)

    def broken(*_: object) -> None:
        raise ValueError("of two\nlines, at http://user:secret@host/")

    monkeypatch.setattr(follower._loader, "load", broken)
    follower.check()
    said = follower.standing.problem
    assert "ValueError (of two lines, at http://" in said and ") while loading; nothing answers yet" in said
    assert "secret" not in said
    monkeypatch.setattr(follower._loader, "find", broken)
    follower.check()
    assert follower.standing.problem.startswith("the registry: ValueError (of two lines")
