"""What a registered gaze model promises, sealed at registration and checked at every load.

A package is a folder with ``model.safetensors``, ``model.onnx``, ``holdout.npz`` and ``contract.json``, and with
``twin.onnx`` where the model was trained on all samples: the network that was trained in the same way without the
held-out ones, and is measured in its place. The contract names the sha256 of the other files, and its own ``seal`` is
the sha256 of its own bytes with the seal blanked out, so that one flipped byte anywhere is found and the file is named.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field, FiniteFloat

from recording import angles, files, relative_to
from recording.exceptions import ContractError
from recording.relative_to import Kind
from recording.scenarios import COUNT as SCENARIO_COUNT
from registry import holdout
from registry.crop import Crop, Strict
from registry.network import CPU, GazeNetwork, Network

FILE_NAME = "contract.json"
WEIGHTS = "model.safetensors"
NETWORK = "model.onnx"
FILES = (WEIGHTS, NETWORK, holdout.FILE_NAME)
TWIN = "twin.onnx"
ALL_FILES = (*FILES, TWIN)
"""Those that a package may have beside its contract."""

CONTRACT_VERSION: Literal[3] = 3
"""What is written where there is no twin; 2 came with the face rectangle (``crop.face``), ``seen`` and
``digests.weights``, 3 with ``output.label_frame``, ``unseen_driver`` and held-out samples of several drives."""
TWIN_VERSION: Literal[4] = 4
"""What is written where there is one: software that does not know it must not measure the model itself."""
KNOWN_VERSIONS = (1, 2, CONTRACT_VERSION, TWIN_VERSION)
"""What is read; fields that came later may be missing."""
GOLDEN_EXAMPLES = 5
GOLDEN_TOLERANCE_DEG = 0.1
LABEL_FRAME = "label_frame"
"""A name in ``training``: what the job was told that its angles count from; empty where it was to look."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_BLANK = "0" * 64


class InputPromise(Strict):
    """What the network reads, and how a picture becomes that (``recording.preprocess``)."""

    name: Literal["images"] = "images"
    dtype: Literal["float32"] = "float32"
    shape: tuple[Literal[3], Literal[224], Literal[224]] = (3, 224, 224)
    colour: Literal["RGB"] = "RGB"
    value_range: tuple[Literal[0], Literal[1]] = (0, 1)
    resize: Literal["stretch"] = "stretch"


class OutputPromise(Strict):
    """What the network answers, and in which convention (``recording.angles``) the two angles are meant."""

    name: Literal["pitch_yaw"] = "pitch_yaw"
    unit: Literal["radian"] = "radian"
    order: tuple[Literal["pitch"], Literal["yaw"]] = ("pitch", "yaw")
    convention: Literal["dashgaze"] = "dashgaze"
    label_frame: Kind = "unknown"
    """What the angles count from (:mod:`recording.label_frame`); unknown: the car, but nothing has shown it."""

    @property
    def relative_to(self) -> str:
        """What the angles count from, in words."""
        return relative_to.WORDS[self.label_frame]


class AngleErrors(Strict):
    """Mean absolute error per angle and mean 3-D angle between gaze vectors, degrees."""

    azimuth_error_deg: FiniteFloat = Field(ge=0)
    elevation_error_deg: FiniteFloat = Field(ge=0)
    angular_error_deg: FiniteFloat = Field(ge=0)


class Errors(Strict):
    """Errors on the held-out samples: of this model, of the base it came from, of a constant, of a calibration."""

    split: str
    leaking: bool
    """True when neighbours of the held-out frames were trained on: the figures are then too good."""
    samples: int = Field(gt=0)
    model: AngleErrors
    base: AngleErrors | None = None
    constant: AngleErrors | None = None
    calibrated: AngleErrors | None = None


class Scenario(Strict):
    """One of the ten scenarios and the model's errors in it (``None`` without samples)."""

    number: int = Field(ge=1, le=SCENARIO_COUNT)
    description: str
    samples: int = Field(ge=0)
    errors: AngleErrors | None = None


class DriverFigures(Strict):
    """Errors on one driver of models that were trained as this one, but without the driver."""

    name: str
    recordings: list[str]
    """Digests of the driver's drives: of prepared pictures and angles."""
    samples: int = Field(gt=0)
    errors: AngleErrors


class UnseenDriver(Strict):
    """The error that a driver may expect whom the model has not seen, estimated by leaving out one driver at a time."""

    errors: AngleErrors
    """Means over drivers, each counting once."""
    low_deg: FiniteFloat | None = None
    """The 95 % interval of the 3-D error over drivers; ``None`` with too few of them."""
    high_deg: FiniteFloat | None = None
    drivers: list[DriverFigures]


class Digests(Strict):
    """sha256 of what the model was made from."""

    data: str
    drive: str
    base: str
    code: str
    weights: str | None = None
    """Of this model, as a base is named by it; ``None`` in versions that were registered before."""


class Golden(Strict):
    """One picture and the answer that the sealed network gave to it."""

    jpeg: str
    """base64 of the encoded picture."""
    azimuth_deg: FiniteFloat
    elevation_deg: FiniteFloat


class Contract(Strict):
    """The promise of one registered version; see :func:`seal` and :func:`verify`."""

    contract_version: Literal[1, 2, 3, 4] = CONTRACT_VERSION
    model_name: str
    created: datetime
    input: InputPromise = InputPromise()
    output: OutputPromise = OutputPromise()
    crop: Crop
    errors: Errors
    scenarios: list[Scenario]
    rendered_sample_drive: bool
    digests: Digests
    seen: dict[str, list[int]] = Field(default_factory=dict)
    """By the sha256 of a recording the numbers of its frames that this model, or one that it was fine-tuned from, was
    trained or validated on; empty in versions that were registered before contracts had it."""
    unseen_driver: UnseenDriver | None = None
    """``None`` where no drivers were left out, and in versions that were registered before contracts had it."""
    training: dict[str, Any]
    files: dict[str, Sha256]
    golden: list[Golden]
    seal: Sha256

    @pydantic.model_validator(mode="after")
    def _twins_have_a_version_of_their_own(self) -> "Contract":
        if self.has_twin != (self.contract_version == TWIN_VERSION):
            raise ValueError(
                f"contract version {self.contract_version} {'with' if self.has_twin else 'without'} {TWIN}"
            )
        if self.has_twin and self.files[TWIN] == self.files.get(NETWORK):
            raise ValueError(f"{TWIN} is {NETWORK} itself, which has seen the held-out samples")
        return self

    @property
    def has_twin(self) -> bool:
        """Whether the errors are those of a twin: the model itself was trained on the held-out samples too."""
        return TWIN in self.files

    @property
    def file_names(self) -> tuple[str, ...]:
        """The package's files beside the contract."""
        return ALL_FILES if self.has_twin else FILES

    @property
    def told_label_frame(self) -> str:
        """What the training was told that its angles count from, against what they look like; "" where it looked."""
        return str(self.training.get(LABEL_FRAME, ""))


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What whoever trained a model states of it in the :class:`Contract`: all that its files do not say themselves."""

    model_name: str
    crop: Crop | dict[str, Any]
    errors: Errors | dict[str, Any]
    digests: Digests | dict[str, Any]
    training: dict[str, Any]
    """How it was trained, for the model card: any names and values that JSON can carry."""
    rendered_sample_drive: bool
    output: OutputPromise = field(default_factory=OutputPromise)
    scenarios: Sequence[Scenario | dict[str, Any]] = ()
    unseen_driver: UnseenDriver | dict[str, Any] | None = None


def seal(folder: Path, golden_jpegs: list[bytes], stated: Statement) -> Contract:
    """Write ``contract.json`` for the files in ``folder``: what is stated, their sha256s, the network's golden answers.

    The folder already holds ``model.safetensors``, ``model.onnx`` and ``holdout.npz``, and ``twin.onnx`` where the
    samples say that there is a twin. ``golden_jpegs`` are five encoded pictures. Raises :class:`ContractError` when a
    file is missing or a field does not fit.
    """
    folder = Path(folder)
    if len(golden_jpegs) != GOLDEN_EXAMPLES:
        raise ContractError(f"contract of {folder}: {len(golden_jpegs)} golden pictures, not {GOLDEN_EXAMPLES}")
    contents = {name: _read(folder / name) for name in FILES}
    answers = GazeNetwork(contents[NETWORK]).predict_encoded(golden_jpegs)
    kept = holdout.Holdout.read(contents[holdout.FILE_NAME])
    if kept.twin:
        contents[TWIN] = _read(folder / TWIN)
        GazeNetwork(contents[TWIN], name=str(folder / TWIN))  # now, not when the gate measures it
    fields = vars(stated) | {
        "contract_version": TWIN_VERSION if kept.twin else CONTRACT_VERSION,
        "created": datetime.now(UTC).replace(microsecond=0),
        "seen": {part.recording: part.frames.tolist() for part in kept.learnt},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "golden": [
            {"jpeg": base64.b64encode(jpeg).decode(), "azimuth_deg": answer[0], "elevation_deg": answer[1]}
            for jpeg, answer in zip(golden_jpegs, answers, strict=True)
        ],
        "seal": _BLANK,
    }
    try:
        draft = Contract.model_validate(fields)
    except pydantic.ValidationError as error:
        raise ContractError(f"contract of {folder}: {_first_problem(error)}") from error
    blank = draft.model_dump_json(indent=1)
    sealed = draft.model_copy(update={"seal": hashlib.sha256(blank.encode()).hexdigest()})
    files.write_text(folder / FILE_NAME, sealed.model_dump_json(indent=1))
    return sealed


def verify(folder: Path, seal: str = "") -> Contract:
    """The contract of a package, after checking all of it; see :func:`load`."""
    return load(folder, seal)[0]


def load(folder: Path, seal: str = "") -> tuple[Contract, GazeNetwork]:
    """``(contract, network)`` of a package, the network opened from the very bytes that were checked.

    Checks the contract version, the contract's own seal (and that it is ``seal``, the registered one, where that is
    given), the sha256 of every file, and the golden pictures, which the network must answer within 0.1°. Raises
    :class:`ContractError` that names the file at fault.
    """
    folder = Path(folder)
    sealed = read(folder)
    if seal and sealed.seal != seal:
        raise ContractError(
            f"{folder / FILE_NAME}: not the one that was registered (another seal); the package was replaced, "
            "register the model again"
        )
    for name in sealed.file_names:
        if name != NETWORK:  # looked at and not kept: a server holds two versions at times
            kept = content(folder, sealed, name)
            if name == holdout.FILE_NAME and holdout.Holdout.tells_of_a_twin(kept) != sealed.has_twin:
                raise ContractError(
                    f"{folder / FILE_NAME}: contract and held-out samples disagree on whether a twin is measured; "
                    "register the model again"
                )
    network = GazeNetwork(content(folder, sealed, NETWORK))
    replay(sealed, network, folder / NETWORK)
    return sealed, network


def content(folder: Path, sealed: Contract, name: str) -> bytes:
    """The bytes of a package's file whose sha256 is the contract's; :class:`ContractError` when they are others.

    Whoever opens a file of a package opens these bytes: the file may be another one a moment later.
    """
    read_bytes = _read(folder / name)
    if hashlib.sha256(read_bytes).hexdigest() != sealed.files.get(name):
        raise ContractError(
            f"{folder / name}: changed since it was registered (its sha256 is not the contract's); "
            "fetch it again, or register the model again"
        )
    return read_bytes


@dataclass(frozen=True)
class VerifiedPackage:
    """A verified package on disk: a file of it that changed since is refused when it is asked for."""

    folder: Path
    contract: Contract

    def content(self, name: str) -> bytes:
        """The bytes of one file, as :func:`content`."""
        return content(self.folder, self.contract, name)

    def network(self, threads: int | None = None, providers: tuple[str, ...] = CPU) -> GazeNetwork:
        """The network, run by ONNX Runtime in float32; see :class:`~registry.network.GazeNetwork`."""
        return GazeNetwork(self.content(NETWORK), threads, providers)

    def measured_network(self) -> GazeNetwork:
        """The network that the contract's errors are of: the model's twin where it has one."""
        return GazeNetwork(self.content(TWIN), name=TWIN) if self.contract.has_twin else self.network()

    def holdout(self) -> holdout.Holdout:
        """The held-out samples that came with the version."""
        return holdout.Holdout.read(self.content(holdout.FILE_NAME))


def read(folder: Path) -> Contract:
    """``contract.json`` of a package, its version, fields and seal checked; the other files are not opened."""
    path = Path(folder) / FILE_NAME
    raw = _read(path)
    try:
        fields = files.parse_json(raw)
        found = fields.get("contract_version") if isinstance(fields, dict) else None
        if isinstance(found, int) and found not in KNOWN_VERSIONS and _seal_holds(raw, fields):
            raise ContractError(
                f"{path}: contract version {found} is not known here (this software knows "
                f"{', '.join(map(str, KNOWN_VERSIONS))}); "
                "update the software, or register the model again"
            )
        sealed = Contract.model_validate_json(raw)
    except pydantic.ValidationError as error:
        raise ContractError(f"{path}: {_first_problem(error)}; it was changed, or is no contract") from error
    except ValueError as error:  # bad JSON or bad UTF-8
        raise ContractError(f"{path}: damaged ({error}); fetch it again, or register the model again") from error
    if not _seal_holds(raw, fields):
        raise ContractError(
            f"{path}: changed since it was sealed (its seal does not fit); fetch it again, or register again"
        )
    return sealed


def replay(sealed: Contract, network: Network, name: Path | str) -> None:
    """Answer the golden pictures again; :class:`ContractError` when an angle is off by more than 0.1°."""
    answered, expected = golden_answers(sealed, network, name)
    off = angles.absolute_errors(answered, expected)
    if not (off <= GOLDEN_TOLERANCE_DEG).all():  # not (… <= …): NaN is off as well
        worst = int(np.argmax(np.nan_to_num(off, nan=np.inf).max(axis=1)))
        raise ContractError(
            f"{name}: golden picture {worst + 1} is answered {answered[worst].round(2).tolist()} instead of "
            f"{expected[worst].round(2).tolist()} (azimuth, elevation in degrees); this machine computes other "
            "angles than the one that registered the model"
        )


def golden_answers(sealed: Contract, network: Network, name: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """(10, 2) what the network answers to the golden pictures, and what was answered at registration, degrees.

    :class:`ContractError` where the contract of ``name`` has not as many.
    """
    expected = np.array([[golden.azimuth_deg, golden.elevation_deg] for golden in sealed.golden])
    if len(expected) != GOLDEN_EXAMPLES:
        raise ContractError(f"{name}: its contract has {len(expected)} golden pictures, not {GOLDEN_EXAMPLES}")
    return network.predict_encoded([base64.b64decode(golden.jpeg) for golden in sealed.golden]), expected


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractError(f"{path}: cannot be read ({error.strerror}); fetch the version again") from error


def _seal_holds(raw: bytes, fields: dict[str, Any]) -> bool:
    stated = fields.get("seal")
    if not isinstance(stated, str) or len(stated) != len(_BLANK) or raw.count(stated.encode()) != 1:
        return False
    return hashlib.sha256(raw.replace(stated.encode(), _BLANK.encode())).hexdigest() == stated


def _first_problem(error: pydantic.ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'contract'}: {problem['msg']}"
