"""From a trained network to the folder that the registry takes: weights, ONNX graph, held-out samples."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import safetensors.torch
import torch
from torch import nn

from recording import face, files, pictures, preprocess
from recording.exceptions import InputError
from recording.face import Cutter, Face
from recording.recordings import Recordings
from registry import contract, holdout
from registry.crop import Crop
from registry.holdout import Holdout, Source
from registry.lineage import Footage, joined
from registry.lineage import of as footage_of
from training.measuring.splits import Split
from training.reporting import graph

HELD_OUT_SIDE = 640
"""Pixels of the longer side of held-out pictures; more where the face would have fewer than the network reads."""


def export(network: nn.Module, folder: Path) -> None:
    """Write ``model.safetensors`` (float32 weights) and ``model.onnx`` (any batch size) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    network.cpu().float().eval()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's types leave it out
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    files.write(folder / contract.WEIGHTS, lambda unfinished: safetensors.torch.save_file(state, unfinished))
    files.write(folder / contract.NETWORK, partial(onnx.save, graph.of(network)))  # one file: one digest covers it


def held_out(
    recordings: Recordings, split: Split, before: Holdout | None = None, *, everything: bool = False
) -> Holdout:
    """The test samples as they travel with the version, and what the model has seen: ``split.final``, or all samples
    where a twin without the test samples is measured in its place (``everything``).

    Their pictures show the driver view: a version that reads another part of it can be compared on them.

    ``split.final`` has all that trained or validated before. ``before`` is the holdout of the registered version that
    training started from; what that one saw, this one saw too.
    """
    drives, place = np.unique(recordings.drive_index[split.test], return_inverse=True)
    final = [footage_of(recordings, split.final, index) for index in range(len(recordings.drives))]
    every = np.arange(len(recordings))
    footage = [footage_of(recordings, every, index) for index in range(len(recordings.drives))] if everything else final
    first = int(drives[0])
    whole_drivers = split.name == "by-driver"
    now = Holdout(
        jpegs=[
            shrunk(recordings.driver_path(index), recordings.faces[recordings.drive_index[index]])
            for index in split.test
        ],
        names=[recordings.driver_path(index).name for index in split.test],
        labels_deg=recordings.labels_deg[split.test],
        frames=recordings.frames[split.test],
        blocks=split.block[split.test],
        scenarios=split.scenario[split.test],
        drive=_standing_for([recordings.drives[k].drive for k in drives]),
        fps=recordings.drives[first].fps,
        trained_frames=np.array([], dtype=np.int64),
        moments=recordings.moments[first],
        face=recordings.faces[first],
        sources=tuple(_source(recordings, int(k)) for k in drives) if whole_drivers else (),
        source=place if whole_drivers else np.empty(0, np.int64),
    )
    return with_lineage(now, before, footage, final if everything else ())


def _source(recordings: Recordings, drive: int) -> Source:
    one = recordings.drives[drive]
    return Source(one.driver or one.name, one.drive, one.fps, recordings.faces[drive], recordings.moments[drive])


def _standing_for(drives: list[str]) -> str:
    """The sha256 of the recording, or of several one that stands for them, in whatever order."""
    return drives[0] if len(drives) == 1 else hashlib.sha256(" ".join(sorted(drives)).encode()).hexdigest()


def with_lineage(
    kept: Holdout, before: Holdout | None, footage: Sequence[Footage] = (), twin: Sequence[Footage] = ()
) -> Holdout:
    """The held-out samples with all that their model learnt from: ``footage``, and what its registered base saw.

    ``twin``: of a model that was trained on all samples, what its twin was trained on, beside what the base saw.
    """
    unknown = () if before is None else tuple(name for name in before.trained_drives if name != kept.drive)
    inherited = () if before is None else before.learnt
    learnt = joined([*footage, *inherited])
    here = [part.frames for part in learnt if part.recording == kept.drive]
    return replace(
        kept,
        trained_frames=here[0] if here else np.array([], dtype=np.int64),
        trained_drives=unknown,
        elsewhere=tuple(part for part in learnt if part.recording != kept.drive),
        twin=joined([*twin, *inherited]) if twin else (),
    )


def check_lineage(recordings: Recordings, split: Split, before: Holdout | None) -> None:
    """:class:`InputError` when the registered base was trained on what is to test its successor."""
    if before is None:
        return
    tested = np.unique(recordings.drive_index[split.test])
    seen = sum(int(before.saw(footage_of(recordings, split.test, int(drive))).sum()) for drive in tested)
    if seen:
        raise InputError(
            f"base: it was trained on {seen} of the {len(split.test)} test frames (or their neighbours), so its "
            "successor cannot be tested on them; start from another base or give another drive"
        )


def shrunk(path: Path, read: Face | None) -> bytes:
    """A driver picture as JPEG, no larger than what is ``read`` of it needs; as it is where it is small enough."""
    content = path.read_bytes()
    picture = preprocess.decode(content, str(path))
    height, width = picture.shape[:2]
    seen = picture if read is None else read.cut(picture, str(path))
    scale = max(HELD_OUT_SIDE / max(width, height), preprocess.INPUT_SIZE / min(seen.shape[:2]))
    if scale >= 1:
        return content
    return encode(cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA))


def golden(kept: Holdout, crop: Crop | None = None) -> list[bytes]:
    """Five of the held-out pictures as the network reads them, spread: the golden examples of the contract.

    ``crop``: what is read of the driver view; ``None``, all of it.
    """
    spread = np.linspace(0, len(kept) - 1, contract.GOLDEN_EXAMPLES).round().astype(int)
    chosen = [part for k in spread for _, part in kept.subset(np.array([k])).parts()]
    return [encode(preprocess.read(one.jpegs[0], one.names[0], _cutter(one, crop))) for one in chosen]


def _cutter(one: Holdout, crop: Crop | None) -> Cutter:
    return face.whole if crop is None else crop.settled(one.face).cut_driver_view


def encode(crop: np.ndarray) -> bytes:
    """(h, w, 3) uint8 RGB → JPEG bytes."""
    return pictures.encode(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))


def assemble(folder: Path, network: nn.Module, kept: Holdout, twin: nn.Module | None = None) -> None:
    """All files of a package but its contract; ``twin``: of a network that was trained on ``kept`` too."""
    export(network, folder)
    if twin is not None:
        onnx.save(graph.of(twin.cpu().float().eval()), folder / contract.TWIN)
    kept.write(folder / holdout.FILE_NAME)
