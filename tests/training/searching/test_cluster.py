"""What is checked of a Ray cluster before anything is computed, and who fits where; on real nodes: test_slots.py."""

import io
import logging
import socket
import tarfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import databases
import pytest

from recording.exceptions import GazeError, InputError
from training.searching import nodes
from training.searching.nodes import About

GIB = 2**30


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch):
    """The module, where Ray is installed."""
    try:
        from training.searching import cluster
    except ModuleNotFoundError:
        databases.absent("Ray")
    return cluster


@pytest.fixture
def found(cluster, lines, monkeypatch, tmp_path: Path) -> Callable[..., object]:
    """A cluster whose nodes say these things of themselves; :func:`about` by default what this machine says."""

    def look(*said: About):
        there = [cluster.Node(f"{k}", one.host, f"10.0.0.{k}", 4, 0, 8 * GIB) for k, one in enumerate(said)]
        by_id = {node.id: one for node, one in zip(there, said, strict=True)}
        shown.extend(there)

        def answers(self, asked):
            return [by_id[node.id] for node in asked]

        monkeypatch.setattr(cluster, "alive", lambda: list(shown))
        monkeypatch.setattr(cluster.Cluster, "_said", answers)
        monkeypatch.setattr(cluster, "lifelines", lambda _: lines)
        monkeypatch.setattr(cluster, "LOOK_S", 0.0)
        monkeypatch.setattr(cluster.mlflow, "get_tracking_uri", lambda: "http://mlflow:5000")
        return cluster.Cluster("head:6379", tmp_path)

    shown: list[object] = []
    return look


@pytest.fixture
def lines() -> dict[str, tuple[str, int]]:
    """Where the own node and the head answer."""
    return {}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> About:
    token = tmp_path_factory.mktemp("work") / "token"
    token.touch()
    return nodes.about(token, "")


def test_nodes_that_are_as_this_machine_and_see_its_folder_share_it(found, here, tmp_path):
    away = replace(here, host="away")
    both = found(here, away)
    assert both.shared
    assert both.shares(tmp_path / "studies") and not both.shares(tmp_path.parent)
    assert not found(here, replace(away, sees_work=False)).shared


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"versions": {"torch": "1.0"}}, "node away (10.0.0.1) has torch 1.0, this machine"),
        ({"versions": {"Python": "3.10.1"}}, "node away (10.0.0.1) has Python 3.10.1, this machine"),
        ({"code": "other"}, "node away (10.0.0.1) has other code of this project; check out the same commit there"),
        ({"unreachable": "Connection refused"}, "cannot reach MLflow at http://mlflow:5000 (Connection refused)"),
    ],
)
def test_a_node_that_differs_is_refused_in_one_line(found, here, change, line):
    change = {name: here.versions | value if name == "versions" else value for name, value in change.items()}
    with pytest.raises(InputError) as refused:
        found(here, replace(here, host="away", **change))
    assert str(refused.value).startswith("cluster=head:6379: ")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_that_some_nodes_see_and_others_do_not_is_refused(found, here, tmp_path):
    sees, blind = replace(here, host="one"), replace(here, host="two", sees_work=False)
    with pytest.raises(InputError, match=r"node two \(10.0.0.1\) does not see work=.*, which others do"):
        found(sees, blind)


def test_a_node_that_comes_later_and_differs_is_left_alone(found, here, cluster, monkeypatch, caplog):
    first = found(here)
    found_again = [*cluster.alive(), cluster.Node("9", "late", "10.0.0.9", 4, 0, 8 * GIB)]

    def late(self, asked):
        return [replace(here, code="other") for _ in asked]

    monkeypatch.setattr(cluster, "alive", lambda: found_again)
    monkeypatch.setattr(cluster.Cluster, "_said", late)
    with caplog.at_level(logging.WARNING):
        assert [node.id for node in first.nodes()] == ["0"]
    assert "node late (10.0.0.9) has other code" in caplog.text


@pytest.mark.parametrize("uri", ["sqlite:////data/mlflow.db", "file:///data/mlruns", "/data/mlruns"])
def test_a_store_that_only_this_machine_reaches_is_refused_with_other_machines(cluster, uri):
    cluster.check_tracking("auto", uri, set())
    with pytest.raises(InputError, match=r"node away cannot reach MLflow's store .*; start a server"):
        cluster.check_tracking("auto", uri, {"away"})
    cluster.check_tracking("auto", "http://mlflow:5000", {"away"})


@pytest.mark.parametrize(
    ("wanted", "gpus", "expected"),
    [
        (0, 0, (1, 0)),  # ten trials: nine fit
        (2, 0, (4, 0)),  # with 5, only one fits
        (1, 0, (8, 0)),
        (4, 0, (2, 0)),  # the small one has memory for one alone
        (0, 1, (4, 1)),
    ],
)
def test_a_trial_gets_the_largest_share_with_which_so_many_fit(cluster, wanted, gpus, expected):
    there = [cluster.Node("a", "a", "", 8, 2, 64 * GIB), cluster.Node("b", "b", "", 4, 0, 3 * GIB)]
    share = cluster.share(there, wanted, 10, gpus)
    assert (share.cpus, share.gpus) == expected


def test_a_cluster_without_room_for_a_trial_is_refused(cluster):
    with pytest.raises(InputError, match=r"no node has room for a trial \(1 CPU, 1 GPU, 2 GiB\)"):
        cluster.share([cluster.Node("a", "a", "", 8, 0, 64 * GIB)], 0, 10, 1)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_is_does_not_hang(cluster, tmp_path, scheme):
    address = f"{scheme}127.0.0.1:{databases.free_port()}"
    with pytest.raises(InputError, match="nobody answers there"), cluster.connected(address, tmp_path):
        pass


def test_an_address_where_something_else_answers_does_not_hang(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match="no head node of Ray"), cluster.connected(address, tmp_path):
            pass


def test_a_ray_of_our_own_that_is_gone_is_noticed_at_once(found, here, lines):
    with socket.create_server(("127.0.0.1", 0)) as own, socket.create_server(("127.0.0.1", 0)) as head:
        lines |= {"Ray's node on this machine": own.getsockname(), "Ray's head node": head.getsockname()}
        one = found(here)
        one.check()
        own.close()
        with pytest.raises(GazeError, match=r"Ray's node on this machine is gone \(Connection refused\); start it"):
            one.check()
        assert one.gone


def test_what_fails_because_the_cluster_is_gone_is_told_from_what_fails_by_itself(found, here, cluster, lines):
    def fail(error: Exception) -> None:
        raise error

    of_a_client, one = cluster.lifelines, found(here)
    with pytest.raises(KeyError):
        one.watched(lambda: fail(KeyError("ours")))
    with pytest.raises(GazeError, match=r"head:6379: the connection to it is lost \(no more\); start it again.*study="):
        one.watched(lambda: fail(ConnectionError("no more\n...")))
    with socket.create_server(("127.0.0.1", 0)) as server:  # Ray's client fails in many ways
        lines |= of_a_client(f"ray://127.0.0.1:{server.getsockname()[1]}")
        one = found(here)
    with pytest.raises(GazeError, match="Ray's client server is gone"):
        one.watched(lambda: fail(KeyError("ours")))


def test_a_head_that_does_not_answer_for_a_moment_is_waited_for(found, here, cluster, lines, monkeypatch):
    lines["Ray's head node"] = ("127.0.0.1", 1)
    monkeypatch.setattr(cluster.socket, "create_connection", silent)
    one = found(here)
    one.check()
    monkeypatch.setattr(cluster, "LOST_S", -1.0)
    with pytest.raises(GazeError, match=r"Ray's head node is gone \(timed out\)"):
        one.check()


def silent(*_: object) -> None:
    raise TimeoutError("timed out")


def test_a_parcel_is_unpacked_as_it_was_packed_and_reaches_nothing_outside_its_folder(tmp_path):
    """With what every Python 3.11 has: `extractall` keeps to its folder from 3.11.4 on only."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for name in ("frame_00001_driver.jpg", "frame_00001_gt.json", "frame_00002_driver.PNG"):
        (folder / name).write_text(name)
    nodes.unpack(nodes.pack(folder), tmp_path / "there")
    assert {path.name: path.read_text() for path in (tmp_path / "there").iterdir()} == {
        path.name: path.name for path in folder.iterdir()
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../out"))
    nodes.unpack(content.getvalue(), tmp_path / "other" / "there")
    assert [path.name for path in (tmp_path / "other" / "there").iterdir()] == ["out"]
    assert not (tmp_path / "out").exists()


def test_a_time_out_of_what_was_asked_is_not_one_of_ray_that_is_silent(cluster):
    """Ray's own are of the same kind; only whoever does not answer at all is ended."""
    from training.searching.envoy import Envoy

    ended, failed, silent = [], Future(), Future()
    failed.set_exception(TimeoutError("its own"))
    envoy = Envoy.__new__(Envoy)
    envoy.address, envoy._child = "auto", SimpleNamespace(kill=lambda: ended.append(True))
    envoy._process = SimpleNamespace(submit=lambda function: function)
    with pytest.raises(TimeoutError, match="its own"):
        envoy.ask(failed)
    assert not ended
    with pytest.raises(GazeError, match="Ray does not answer for 0 s"):
        envoy.ask(silent, within_s=0.01)
    assert ended
