"""The registered network: an ONNX file that answers gaze angles, run by ONNX Runtime, without torch."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import onnxruntime

from recording import angles, face, preprocess
from recording.exceptions import ContractError
from recording.face import Cutter

INPUT_NAME = "images"
OUTPUT_NAME = "pitch_yaw"

# Pictures that go through the network at once: bounds the memory that a large request takes.
_AT_ONCE = 32
# A processor is as fast with few (98 to 110 pictures a second on two cores with 1 to 32), and each takes 8 MB that
# ONNX Runtime keeps for each thread that asks.
_AT_ONCE_ON_CPU = 4


# Execution providers of ONNX Runtime that every machine has.
CPU = ("CPUExecutionProvider",)


class Network(ABC):
    """Whatever answers pictures with angles."""

    precision = "float32"
    """What it computes in."""

    @abstractmethod
    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """(n, 224, 224, 3) uint8 RGB → (n, 2) float64 ``(azimuth, elevation)`` degrees, convention ``dashgaze``."""

    def predict_encoded(
        self, encoded: list[bytes], names: list[str] | None = None, cut: Cutter = face.whole
    ) -> np.ndarray:
        """JPEG or PNG bytes of any size → (n, 2) degrees as :meth:`predict`; ``InputError`` names a bad picture.

        ``cut`` takes from each picture what the network reads; by default that is all of it.
        """
        names = names or [f"image {number}" for number in range(len(encoded))]
        answers = [np.empty((0, 2))]
        for start in range(0, len(encoded), _AT_ONCE):
            pictures = [
                preprocess.read(data, name, cut)
                for data, name in zip(encoded[start : start + _AT_ONCE], names[start : start + _AT_ONCE], strict=True)
            ]
            answers.append(self.predict(np.stack(pictures)))
        return np.concatenate(answers)


class GazeNetwork(Network):
    """A gaze network opened from its ONNX file, run by ONNX Runtime in float32.

    The file's input ``images`` is float32 (batch, 3, 224, 224), RGB in [0, 1]; its output ``pitch_yaw`` is
    float32 (batch, 2), radians. Anything else is a :class:`ContractError` at once, not at the first picture.

    Args:
        onnx_path: The file, or its bytes (what was hashed is then what is run).
        threads: Threads of one prediction; ``None`` leaves it to ONNX Runtime (all cores).
        providers: ONNX Runtime's execution providers, best first.
        name: What messages call bytes.
    """

    def __init__(
        self,
        onnx_path: Path | str | bytes,
        threads: int | None = None,
        providers: tuple[str, ...] = CPU,
        name: str = "model.onnx",
    ) -> None:
        name = name if isinstance(onnx_path, bytes) else str(onnx_path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # warnings about graph optimisation tell a user nothing
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            graph = onnx_path if isinstance(onnx_path, bytes) else Path(onnx_path).read_bytes()
            # From bytes: weights in a second file beside it, which no digest covers, are refused.
            self._session = onnxruntime.InferenceSession(graph, options, providers=list(providers))
        except OSError as error:
            raise ContractError(f"{name}: cannot be read ({error.strerror}); fetch the version again") from error
        except Exception as error:  # ONNX Runtime has one class per failure, none of them public
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            reason = str(error).split("\n")[0][:160]
            raise ContractError(
                f"{name}: not a network that ONNX Runtime opens ({reason}); export it again as one file"
            ) from error
        self._at_once = _AT_ONCE_ON_CPU if self._session.get_providers()[0] == "CPUExecutionProvider" else _AT_ONCE
        self._check_signature(name)

    def _check_signature(self, name: str) -> None:
        inputs = {node.name: node for node in self._session.get_inputs()}
        outputs = {node.name: node for node in self._session.get_outputs()}
        if list(inputs) != [INPUT_NAME] or list(outputs) != [OUTPUT_NAME]:
            raise ContractError(
                f"{name}: reads {', '.join(inputs)} and answers {', '.join(outputs)}, "
                f"not {INPUT_NAME} and {OUTPUT_NAME}; export it again"
            )
        shape = inputs[INPUT_NAME].shape
        size = preprocess.INPUT_SIZE
        if shape[1:] != [3, size, size] or isinstance(shape[0], int):
            raise ContractError(f"{name}: input shape is {shape}, not (batch, 3, {size}, {size}) with any batch")

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """See :meth:`Network.predict`."""
        parts = (pictures[start : start + self._at_once] for start in range(0, len(pictures), self._at_once))
        answers = [self._session.run([OUTPUT_NAME], {INPUT_NAME: preprocess.to_input(part)})[0] for part in parts]
        return angles.pitch_yaw_to_deg(np.concatenate(answers) if answers else np.empty((0, 2)))
