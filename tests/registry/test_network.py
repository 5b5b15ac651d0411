"""The ONNX network: its signature is checked when it is opened, and it answers azimuth first, in degrees."""

from pathlib import Path

import numpy as np
import onnx
import packages
import pytest
from onnx import TensorProto, helper

from recording.exceptions import ContractError, InputError
from registry.network import GazeNetwork


@pytest.fixture(scope="module")
def onnx_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    packages.write_network(path)
    return path


def test_answers_are_azimuth_and_elevation_in_degrees(onnx_path: Path) -> None:
    found = GazeNetwork(onnx_path).predict_encoded([packages.picture(12, -7), packages.picture(-3, 9)])
    np.testing.assert_allclose(found, [[12, -7], [-3, 9]], atol=0.3)


def test_many_pictures_come_back_in_order(onnx_path: Path) -> None:
    azimuths = np.linspace(-20, 20, 70)  # more than go through at once
    found = GazeNetwork(onnx_path).predict_encoded([packages.picture(azimuth, 0) for azimuth in azimuths])
    np.testing.assert_allclose(found[:, 0], azimuths, atol=0.3)


def test_no_pictures_give_no_answers(onnx_path: Path) -> None:
    assert GazeNetwork(onnx_path).predict_encoded([]).shape == (0, 2)
    assert GazeNetwork(onnx_path).predict(np.empty((0, 224, 224, 3), dtype=np.uint8)).shape == (0, 2)


def test_a_picture_that_is_none_is_named(onnx_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.jpg: neither JPEG nor PNG"):
        GazeNetwork(onnx_path).predict_encoded([packages.picture(0, 0), b"text"], ["a.jpg", "b.jpg"])


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ContractError, match=r"model\.onnx: not a network"):
        GazeNetwork(tmp_path / "model.onnx")
    with pytest.raises(ContractError, match=r"absent\.onnx: cannot be read"):
        GazeNetwork(tmp_path / "absent.onnx")


@pytest.mark.parametrize(
    ("input_name", "shape", "reason"),
    [("pixels", ["batch", 3, 224, 224], "reads pixels"), ("images", [1, 3, 224, 224], "with any batch")],
)
def test_another_signature_is_refused_when_it_is_opened(
    tmp_path: Path, input_name: str, shape: list, reason: str
) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", [input_name], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["pitch_yaw"]),
        ],
        "other",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("pitch_yaw", TensorProto.FLOAT, [shape[0], 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ContractError, match=reason):
        GazeNetwork(tmp_path / "model.onnx")


def test_weights_in_a_second_file_are_refused(tmp_path: Path, onnx_path: Path) -> None:
    # No digest of the contract covers a second file.
    onnx.save(
        onnx.load(onnx_path),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
        convert_attribute=True,
    )
    assert (tmp_path / "model.onnx.data").exists()
    with pytest.raises(ContractError, match="export it again as one file"):
        GazeNetwork(tmp_path / "model.onnx")
