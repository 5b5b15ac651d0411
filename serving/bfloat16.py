"""The network in bfloat16, run by OpenVINO: several times as fast where the processor multiplies in that format.

bfloat16 has 8 significant bits. A gaze network answers about a hundredth of a degree differently in it on average, a
few on single pictures, and some networks much more, so it is not taken on trust: before a version is served in it, its
golden pictures and the held-out samples that travel with it must come out within half of the contract's tolerance of
what float32 answers. Where one does not, the version is served in float32 by ONNX Runtime.
"""

import functools
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from recording import angles
from recording.face import Cutter
from registry import contract
from registry.network import GazeNetwork, Network

COMPARED = 64
"""Held-out samples, spread over the drive, on which both precisions are compared when a version is loaded."""

TOLERANCE_DEG = contract.GOLDEN_TOLERANCE_DEG / 2
"""How far a picture that is compared may be from float32. Half of what every answer may be: others will come, and of a
version whose compared pictures were within 0.055° one of a hundred others was 0.157° off."""


class Unfit(Exception):
    """The version cannot be served in bfloat16 here; the text says why."""


class BFloat16Network(Network):
    """A gaze network from the bytes of its ONNX file: the convolutions in bfloat16, the head behind them in float32.

    bfloat16 in the head would make answers in steps of about 0.05°. Pictures go through one at a time, so an answer
    does not depend on what else was asked. Safe from several threads.

    Args:
        graph: The ONNX file's bytes, with the signature of :class:`~registry.network.GazeNetwork`.
        threads: Threads that will ask at once; each is served by one core.
    """

    precision = "bfloat16"

    def __init__(self, graph: bytes, threads: int) -> None:
        import openvino

        core = _core()
        network = core.read_model(graph)
        network.reshape([1, 3, 224, 224])
        trunk, head = _divided(network)
        streams = {"NUM_STREAMS": str(threads), "INFERENCE_NUM_THREADS": str(threads)}
        self._head = core.compile_model(head, "CPU", streams | {"INFERENCE_PRECISION_HINT": "f32"})
        with tempfile.TemporaryDirectory(prefix="gaze-bfloat16-") as folder:
            # By way of a file with 16-bit weights: OpenVINO keeps what it compiled from, here mapped and half as large.
            path = Path(folder) / "trunk.xml"
            openvino.save_model(trunk, path, compress_to_fp16=True)
            del network, trunk, head
            self._trunk = core.compile_model(path, "CPU", streams | {"INFERENCE_PRECISION_HINT": "bf16"})
        self._own = threading.local()

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """See :meth:`~registry.network.Network.predict`."""
        if not hasattr(self._own, "requests"):
            self._own.requests = self._trunk.create_infer_request(), self._head.create_infer_request()
        trunk, head = self._own.requests
        answers = [head.infer([trunk.infer([picture[None]])[0]])[0].copy() for picture in pictures]
        return angles.pitch_yaw_to_deg(np.concatenate(answers) if answers else np.empty((0, 2)))


def _divided(network: Any) -> tuple[Any, Any]:
    """An OpenVINO network in two: up to its first fully connected layer, from 8-bit pictures on; and the rest."""
    import openvino

    first = next((op for op in network.get_ordered_ops() if op.get_type_name() == "MatMul"), None)
    if first is None:
        raise Unfit("it has no fully connected layer to keep in float32")
    features = first.input_value(0)
    steps = openvino.preprocess.PrePostProcessor(openvino.Model([features], network.get_parameters(), "trunk"))
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    entry = openvino.opset13.parameter(list(features.get_shape()), openvino.Type.f32)
    first.input(0).replace_source_output(entry.output(0))
    return steps.build(), openvino.Model(network.get_results(), [entry], "head")


@functools.cache
def _core() -> Any:
    """OpenVINO with its CPU plugin, one for the life of the process, from a thread that has ended.

    On AMX processors the plugin gives the thread that loads it a stack for signal handlers, only just large enough, and
    frees that with itself: the main thread, where Python handles signals, would be left with a stack that is gone.
    """

    def load() -> Any:
        import openvino

        core = openvino.Core()
        core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # a plugin is loaded when it is first asked
        return core

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


def supported() -> bool:
    """Whether this processor multiplies in bfloat16 (AMX or AVX-512 BF16) and OpenVINO is installed for it."""
    try:
        return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError):  # not installed, or without support for this processor
        return False


def open_checked(
    package: contract.VerifiedPackage, threads: int, go_on: Callable[[], None] = lambda: None
) -> BFloat16Network:
    """The verified package's network in bfloat16; :class:`Unfit` when it does not keep the contract so.

    ``go_on`` is called before each step, which takes a second at most: what it raises ends the comparison.
    """
    graph = package.content(contract.NETWORK)
    kept = package.holdout().parts()[0][1]  # of several drives one is enough: what differs is how numbers are rounded
    held_out, cut = kept.jpegs, package.contract.crop.settled(kept.face).cut_driver_view
    if not held_out:
        raise Unfit("it has no held-out samples to compare the precisions on")
    spread = np.unique(np.linspace(0, len(held_out) - 1, min(len(held_out), COMPARED)).round().astype(int))
    # First and then dropped, so that both networks are never in memory at once; one picture at a time likewise.
    reference: Network = GazeNetwork(graph, threads)
    wanted = _answers(reference, held_out, spread, cut, go_on)
    del reference
    go_on()
    try:
        network = BFloat16Network(graph, threads)
    except RuntimeError as error:  # OpenVINO has no other
        raise Unfit(f"OpenVINO cannot open it ({str(error).splitlines()[0][:160]})") from error
    go_on()
    _check("golden picture", *contract.golden_answers(package.contract, network, "in bfloat16"))
    _check("held-out sample", _answers(network, held_out, spread, cut, go_on), wanted)
    return network


def _answers(
    network: Network, jpegs: Sequence[bytes], chosen: np.ndarray, cut: Cutter, go_on: Callable[[], None]
) -> np.ndarray:
    """(n, 2) degrees of these of the pictures, one at a time."""
    answers = []
    for k in chosen:
        go_on()
        answers.append(network.predict_encoded([jpegs[k]], cut=cut))
    return np.concatenate(answers)


def _check(what: str, answered: np.ndarray, wanted: np.ndarray) -> None:
    """:class:`Unfit` where one of these answers, (n, 2) degrees, is too far from that of float32."""
    off = angles.absolute_errors(answered, wanted)
    if not (off <= TOLERANCE_DEG).all():  # not (… <= …): NaN is off as well
        raise Unfit(
            f"a {what} is answered up to {_in_digits(off.max())}° differently than in float32; at most "
            f"{TOLERANCE_DEG:g}° is let pass, so that no other picture is {contract.GOLDEN_TOLERANCE_DEG:g}° off"
        )


def _in_digits(off_deg: float) -> str:
    """What is too much, in as many digits as show that it is."""
    rounded = (f"{off_deg:.{digits}f}" for digits in range(2, 17))
    return next((text for text in rounded if not float(text) <= TOLERANCE_DEG), str(off_deg))
