"""bfloat16 by OpenVINO: the answers of float32 within the contract's tolerance, or not used at all.

OpenVINO computes in bfloat16 on any processor that it runs on (slowly, where it has to emulate it), so nothing is
skipped here; only :func:`serving.bfloat16.supported` depends on the machine.
"""

import subprocess
import sys
import threading
from pathlib import Path

import drives
import numpy as np
import onnx
import packages
import pytest
from onnx import TensorProto, helper

from recording.exceptions import InputError
from registry import contract, stages
from registry.addresses import Selector
from registry.network import GazeNetwork
from serving import bfloat16
from serving.loader import Loader
from serving.server import Settings
from training.learning import model
from training.reporting import package
from training.sample import sample_drive

# Faces, not noise: what a network answers to pictures unlike any face is arbitrary in any precision.
PICTURES = np.stack(
    [
        drives.face(gaze, size=(224, 224))[..., ::-1]
        for gaze in ((-20, 0), (-10, -8), (0, 0), (5, -4), (12, 5), (25, -2))
    ]
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> bytes:
    """The shipped base: a real ResNet18 with trained weights."""
    folder = tmp_path_factory.mktemp("base")
    package.export(model.load(sample_drive.BASE_CHECKPOINT), folder)
    return (folder / contract.NETWORK).read_bytes()


@pytest.fixture
def everywhere(monkeypatch):
    monkeypatch.setattr(bfloat16, "supported", lambda: True)


def loaded(tmp_path: Path, precision: str):
    loader = Loader(Selector(), tmp_path / "cache", precision=precision, streams=2)
    return loader.load(loader.find())


# The bound is the contract's; what is seen is a tenth of it, and a network of which a part was lost would be far off.
def test_a_real_network_answers_as_in_float32(graph):
    network = bfloat16.BFloat16Network(graph, threads=2)
    off = np.abs(network.predict(PICTURES) - GazeNetwork(graph).predict(PICTURES))
    assert off.max() < contract.GOLDEN_TOLERANCE_DEG
    assert network.predict(PICTURES[:0]).shape == (0, 2)


# The head in float32 is why: without it answers would come in steps of about 0.05°.
def test_answers_do_not_come_in_steps(graph):
    faces = np.stack([drives.face((azimuth / 4, 0), size=(224, 224))[..., ::-1] for azimuth in range(40)])
    answers = bfloat16.BFloat16Network(graph, threads=1).predict(faces)
    different = len(np.unique(faces.reshape(40, -1), axis=0))
    assert len(np.unique(answers[:, 0].round(4))) > 0.9 * different


def test_an_answer_depends_neither_on_its_batch_nor_on_other_threads(graph):
    network = bfloat16.BFloat16Network(graph, threads=2)
    alone = np.concatenate([network.predict(PICTURES[k : k + 1]) for k in range(len(PICTURES))])
    answers: dict[int, list[np.ndarray]] = {0: [], 1: []}

    def ask(which: int) -> None:
        answers[which] = [network.predict(PICTURES) for _ in range(5)]

    threads = [threading.Thread(target=ask, args=(which,)) for which in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for given in [*answers[0], *answers[1]]:
        np.testing.assert_array_equal(given, alone)


def test_auto_takes_bfloat16_where_the_version_keeps_its_contract_in_it(make_version, tmp_path, everywhere):
    make_version()
    stages.promote("gaze-tracker", 1)
    assert loaded(tmp_path, "auto").precision == "bfloat16"
    assert loaded(tmp_path, "float32").precision == "float32"


def test_auto_stays_in_float32_where_the_processor_has_no_bfloat16(make_version, tmp_path, monkeypatch):
    monkeypatch.setattr(bfloat16, "supported", lambda: False)
    make_version()
    stages.promote("gaze-tracker", 1)
    assert loaded(tmp_path, "auto").precision == "float32"


# A network that answers 40 times as steeply multiplies what bfloat16 rounds away as well.
def test_a_version_that_bfloat16_would_change_answers_in_float32_and_the_log_says_why(
    make_version, tmp_path, everywhere, caplog
):
    make_version(gain=40.0)
    stages.promote("gaze-tracker", 1, force=True, why="a test of precision")
    with caplog.at_level("WARNING"):
        predictor = loaded(tmp_path, "auto")
    assert predictor.precision == "float32"
    assert "float32" in caplog.text
    assert "is answered up to" in caplog.text and "differently than in float32" in caplog.text


@pytest.mark.parametrize(("off_deg", "precision"), [(0.04, "bfloat16"), (0.07, "float32")])
def test_what_is_compared_may_differ_by_half_of_the_tolerance(
    make_version, tmp_path, everywhere, monkeypatch, caplog, off_deg, precision
):
    """With 0.055° on what was compared another frame was 0.157° off."""
    make_version()
    stages.promote("gaze-tracker", 1)
    monkeypatch.setattr(bfloat16, "BFloat16Network", lambda graph, threads: _Off(graph, threads, off_deg))
    with caplog.at_level("WARNING"):
        assert loaded(tmp_path, "auto").precision == precision
    said = "a golden picture is answered up to 0.07° differently than in float32; at most 0.05° is let pass"
    assert (said in caplog.text) == (precision == "float32")
    assert "this machine computes other angles" not in caplog.text, "that belongs to another failure"


@pytest.mark.parametrize(("off_deg", "said"), [(0.0712, "0.07°"), (0.05004, "0.05004°"), (np.nan, "nan°")])
def test_what_is_too_much_is_said_in_as_many_digits_as_show_it(off_deg, said):
    with pytest.raises(bfloat16.Unfit, match=f"a sample is answered up to {said} differently .* at most 0.05° is let"):
        bfloat16._check("sample", np.array([[0.0, 0.0]]), np.array([[off_deg, 0.0]]))


class _Off(GazeNetwork):
    """Answers every picture by so many degrees differently."""

    precision = "bfloat16"

    def __init__(self, graph: bytes, threads: int, off_deg: float) -> None:
        super().__init__(graph, threads)
        self.off_deg = off_deg

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        return super().predict(pictures) + self.off_deg


def test_a_network_without_a_head_is_unfit(tmp_path):
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[224, 112], strides=[224, 112]),
        helper.make_node("ReduceMean", ["pooled"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Identity", ["mean"], ["pitch_yaw"]),
    ]
    described = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 224, 224])]
    answered = [helper.make_tensor_value_info("pitch_yaw", TensorProto.FLOAT, ["batch", 2])]
    network = helper.make_model(
        helper.make_graph(nodes, "tiny", described, answered),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.save(network, tmp_path / "model.onnx")
    with pytest.raises(bfloat16.Unfit, match="fully connected"):
        bfloat16.BFloat16Network((tmp_path / "model.onnx").read_bytes(), threads=1)


def test_an_unknown_precision_is_refused_with_the_legal_ones():
    with pytest.raises(InputError, match="'half'; choose one of auto, float32"):
        Settings(precision="half")


def test_the_server_says_what_it_computes_in(make_version, start_server):
    make_version()
    stages.promote("gaze-tracker", 1)
    server = start_server("--precision", "float32")
    assert server.wait_ready(1)["precision"] == "float32"
    assert server.client.get("/v1/model").json()["precision"] == "float32"
    answer = server.client.post(
        "/v1/gaze", content=packages.picture(10, -5), headers={"content-type": "image/jpeg"}
    ).json()["answers"][0]
    assert (answer["azimuth_deg"], answer["elevation_deg"]) == pytest.approx((10, -5), abs=0.5)


# Opened where a server starts, freed where it follows promotions: signals (SIGTERM, Ctrl-C) still find their stack.
# On any processor that needs a stack of its own for them; the others have nothing to lose.
def test_signals_are_handled_after_a_swap_on_another_thread(graph, tmp_path) -> None:
    (tmp_path / "network.onnx").write_bytes(graph)
    program = """if True:
        import pathlib, signal, sys, threading
        from serving import bfloat16
        graph = pathlib.Path(sys.argv[1]).read_bytes()
        served = [bfloat16.BFloat16Network(graph, 1)]
        def swap():
            served.append(bfloat16.BFloat16Network(graph, 1))
            served.pop(0)
        thread = threading.Thread(target=swap)
        thread.start()
        thread.join()
        heard = []
        signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
        signal.raise_signal(signal.SIGTERM)
        print(*heard)
    """
    command = [sys.executable, "-c", program, str(tmp_path / "network.onnx")]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "SIGTERM\n"), ended.stderr


def test_the_main_thread_gets_no_stack_for_signals(graph, tmp_path) -> None:
    (tmp_path / "network.onnx").write_bytes(graph)
    program = """if True:
        import ctypes, pathlib, sys
        from serving import bfloat16
        class Stack(ctypes.Structure):
            _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
        network = bfloat16.BFloat16Network(pathlib.Path(sys.argv[1]).read_bytes(), 1)
        stack = Stack()
        assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
        print(stack.size)
    """
    command = [sys.executable, "-c", program, str(tmp_path / "network.onnx")]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ended.stdout == "0\n", ended.stderr
