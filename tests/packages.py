"""Tiny packages for tests: real ONNX, safetensors, JPEGs and contract, written in milliseconds.

The network averages the green channel over the left and the upper half of the picture, so that a picture can be
painted for any angles; ``bias_deg`` makes a model worse by a known amount.
"""

import uuid
from pathlib import Path

import cv2
import mlflow
import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from recording import angles
from recording.fingerprint import Fingerprint
from recording.relative_to import Kind
from registry import contract, registration
from registry.crop import Crop
from registry.holdout import Holdout, Source
from registry.lineage import Footage

# Degrees of azimuth or elevation over the whole range of brightness.
SPAN_DEG = 60.0
DRIVE = "d" * 64


def picture(azimuth_deg: float, elevation_deg: float) -> bytes:
    """A 224×224 JPEG that the unbiased tiny network answers with about these angles (±0.2°)."""
    canvas = np.zeros((224, 224, 3), dtype=np.uint8)
    canvas[:, :112, 2] = np.clip(round((azimuth_deg / SPAN_DEG + 0.5) * 255), 0, 255)  # red (OpenCV's order is BGR)
    canvas[:, 112:, 2] = np.clip(round((elevation_deg / SPAN_DEG + 0.5) * 255), 0, 255)
    done, encoded = cv2.imencode(".jpg", cv2.merge([canvas[:, :, 2]] * 3), [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    return encoded.tobytes()


def write_network(path: Path, bias_deg: tuple[float, float] = (0.0, 0.0), gain: float = 1.0) -> None:
    """The tiny network as ONNX: left half's mean → yaw, right half's mean → pitch, plus a bias in degrees."""
    half = np.zeros((3 * 2, 2), dtype=np.float32)  # pooled (channel, left/right) → (pitch, yaw)
    half[1::2, 0] = half[0::2, 1] = gain * np.radians(SPAN_DEG) / 3
    shift = np.radians([bias_deg[1], bias_deg[0]]) - gain * np.radians(SPAN_DEG) / 2
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[224, 112], strides=[224, 112]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["pitch_yaw"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("pitch_yaw", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(half, "weight"),
            numpy_helper.from_array(shift.astype(np.float32), "bias"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def make_holdout(
    n: int = 60,
    *,
    seed: int = 0,
    drive: str = DRIVE,
    first_frame: int = 10_000,
    trained_frames: np.ndarray | None = None,
    label_shift_deg: tuple[float, float] = (0.0, 0.0),
    answers_deg: np.ndarray | None = None,
    baselines: bool = True,
    moments: Fingerprint | None = None,
    elsewhere: tuple[Footage, ...] = (),
    drivers: tuple[str, ...] = (),
    twin: bool = False,
) -> Holdout:
    """n painted samples in six time blocks, two a second at 30 fps; by default trained on far-away frames.

    ``answers_deg`` (n, 2) is what the unbiased tiny network answers to them, the labels by default. Without
    ``baselines`` it is as versions were before these were kept. ``drivers``: of each an equal part, from a drive of
    their own, in six time blocks each. ``twin``: the model was trained on the samples too, and its twin was not.
    """
    rng = np.random.default_rng(seed)
    labels = rng.uniform([-20, -15], [20, 15], size=(n, 2))
    frames = first_frame + 15 * np.arange(n)
    constant = np.broadcast_to(labels.mean(axis=0), labels.shape)
    trained = np.arange(0, 3000, 15) if trained_frames is None else trained_frames
    return Holdout(
        jpegs=[picture(*answer) for answer in (labels if answers_deg is None else answers_deg)],
        names=[f"frame_{frame:05d}_driver.jpg" for frame in frames],
        labels_deg=labels + np.array(label_shift_deg),
        frames=frames,
        blocks=np.arange(n) * 6 * max(1, len(drivers)) // max(n, 1),
        scenarios=np.arange(n) % 10 + 1,
        drive=drive,
        fps=30.0,
        trained_frames=np.union1d(trained, frames) if twin else trained,
        twin=(Footage(drive, 30.0, trained),) if twin else (),
        baselines_deg={"constant": constant, "calibrated": 0.9 * constant} if baselines else {},
        moments=moments or Fingerprint(),
        elsewhere=elsewhere,
        sources=tuple(Source(name, name[0].lower() * 64, 30.0) for name in drivers),
        source=np.arange(n) * len(drivers) // n if drivers else np.empty(0, np.int64),
    )


def make_moments(seed: int, first_frame: int = 9_000, seconds: float = 80.0) -> Fingerprint:
    """The fingerprint of a drive at 30 fps in which something moves all the time; each seed is another drive."""
    random = np.random.default_rng(seed)
    frames = first_frame + np.arange(0, round(seconds * 30), 7)
    moving = np.cumsum(random.normal(size=(len(frames), 144)), axis=0)
    return Fingerprint(frames, frames / 30.0, np.clip(4 * moving, -127, 127).astype(np.int8))


def mean_errors(predicted_deg: np.ndarray, labels_deg: np.ndarray) -> dict[str, float]:
    """The three mean errors as the contract has them."""
    azimuth, elevation = angles.absolute_errors(predicted_deg, labels_deg).mean(axis=0)
    return {
        "azimuth_error_deg": azimuth,
        "elevation_error_deg": elevation,
        "angular_error_deg": angles.angular_errors(predicted_deg, labels_deg).mean(),
    }


def make_package(
    folder: Path,
    *,
    bias_deg: tuple[float, float] = (0.0, 0.0),
    gain: float = 1.0,
    n_holdout: int = 60,
    seed: int = 0,
    holdout: Holdout | None = None,
    model_name: str = "gaze-tracker",
    split: str = "blocks",
    leaking: bool = False,
    rendered: bool = False,
    graph: bytes | None = None,
    weights: bytes | None = None,
    base_digest: str = "b" * 64,
    weights_digest: str | None = None,
    crop: Crop | None = None,
    label_frame: Kind = "unknown",
    unseen_driver: dict | None = None,
    training: dict | None = None,
    twin_bias_deg: tuple[float, float] = (0.0, 0.0),
    **errors: dict | None,
) -> contract.Contract:
    """A valid package in ``folder``: a model ``bias_deg`` off, its held-out samples, honest errors, a seal.

    ``graph`` is an ONNX file in place of the tiny network, ``weights`` a safetensors file in place of two numbers.
    ``crop`` defaults to what older versions say. ``twin_bias_deg``: of the twin, where ``holdout`` has one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held_out = holdout or make_holdout(n_holdout, seed=seed)
    if graph is None:
        write_network(folder / contract.NETWORK, bias_deg, gain)
    else:
        (folder / contract.NETWORK).write_bytes(graph)
    two_numbers = safetensors.numpy.save({"fc.3.bias": np.array(bias_deg, dtype=np.float32)})
    (folder / contract.WEIGHTS).write_bytes(two_numbers if weights is None else weights)
    held_out.write(folder / "holdout.npz")
    cut = (crop or Crop(layout="dashgaze")).settled(held_out.face).cut_driver_view
    if held_out.twin:
        write_network(folder / contract.TWIN, twin_bias_deg)
    measured = folder / (contract.TWIN if held_out.twin else contract.NETWORK)
    predicted = contract.GazeNetwork(measured).predict_encoded(held_out.jpegs, cut=cut)
    constant = np.broadcast_to(held_out.labels_deg.mean(axis=0), held_out.labels_deg.shape)
    known = {"constant": constant, "calibrated": constant * 0.9} | held_out.baselines_deg
    stated = {
        "split": split,
        "leaking": leaking,
        "samples": len(held_out),
        "model": mean_errors(predicted, held_out.labels_deg),
        "base": mean_errors(predicted + 15.0, held_out.labels_deg),
        "constant": mean_errors(known["constant"], held_out.labels_deg),
        "calibrated": mean_errors(known["calibrated"], held_out.labels_deg),
    }
    statement = contract.Statement(
        model_name=model_name,
        crop=crop or {"layout": "dashgaze", "view": "driver"},
        errors=stated | errors,
        scenarios=[
            {"number": n, "description": f"scenario {n}", "samples": n_holdout // 10, "errors": stated["model"]}
            for n in range(1, 11)
        ],
        rendered_sample_drive=rendered,
        unseen_driver=unseen_driver,
        digests={"data": "a" * 64, "drive": held_out.drive, "base": base_digest, "code": "c" * 64}
        | {"weights": weights_digest},
        output=contract.OutputPromise(label_frame=label_frame),
        training={"freeze": "none", "bn": "target", "lr": 1e-3, "epochs": 9, "seed": seed} | (training or {}),
    )
    return contract.seal(folder, [picture(azimuth, azimuth / 2) for azimuth in (-20, -10, 0, 10, 20)], statement)


def register_package(folder: Path, *, model_name: str = "gaze-tracker", **options: object) -> int:
    """A new package under ``folder``, registered from a finished run of its own; the version's number."""
    package = folder / f"{model_name}-{uuid.uuid4().hex}"
    make_package(package, model_name=model_name, **options)
    with mlflow.start_run() as run:
        pass
    return registration.register(package, model_name=model_name, run_id=run.info.run_id)
