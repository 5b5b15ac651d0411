"""What a checkpoint file holds: its tensors, out of whatever they were wrapped in; anything else is named.

Training scripts save more than ``model.state_dict()``: a dictionary with epoch, optimizer and averaged weights around
it, and segments of keys that wrappers add, wherever they stand: ``module`` (DataParallel, DistributedDataParallel,
AveragedModel), ``_orig_mod`` (``torch.compile``), ``_fsdp_wrapped_module`` and ``_checkpoint_wrapped_module``. What is
unambiguous is unwrapped, and what was done is said. Nothing in a file is executed: torch reads it with
``weights_only=True``. The checksums of a ``.pth`` are compared first; ``.safetensors``, and what torch wrote before
version 1.6, have none.
"""

import argparse
import datetime
import io
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import safetensors.torch
import torch

from recording import files
from recording.exceptions import CheckpointError

log = logging.getLogger(__name__)

State = dict[str, torch.Tensor]

_SAVE = "save it with torch.save(model.state_dict(), path)"
# Segments of a key that wrappers add, wherever they stand.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# What the names of averaged copies have in them: moving and stochastic averages, and the teacher beside a student.
_AVERAGES = ("ema", "swa", "averaged", "teacher")
_DEPTH = 5
# Plain values that training scripts keep beside the weights; building them runs no code of the file.
_HARMLESS: list[Any] = [argparse.Namespace, np.dtype, np.ndarray]
_HARMLESS += [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
_HARMLESS += [datetime.datetime, datetime.date, datetime.timedelta]
for _core in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _HARMLESS += [
        (np.float64(0).__reduce__()[0], f"{_core}.scalar"),
        (np.zeros(0).__reduce__()[0], f"{_core}._reconstruct"),
    ]
for _module in ("pathlib", "pathlib._local"):  # a path of another system cannot be built here
    _HARMLESS += [(PurePosixPath, f"{_module}.{kind}") for kind in ("PosixPath", "PurePosixPath")]
    _HARMLESS += [(PureWindowsPath, f"{_module}.{kind}") for kind in ("WindowsPath", "PureWindowsPath")]


def read(path: Path, wanted: set[str]) -> State:
    """The tensors of a checkpoint file under the names ``wanted``, as far as it has them; see :func:`parse`."""
    files.check_name(path, "checkpoint")
    if path.is_dir():
        raise CheckpointError(f"checkpoint {path}: is a folder; give base= the path of a .pth or .safetensors in it")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"checkpoint {path}: no such file; give base= the path of a .pth or .safetensors"
        ) from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: cannot be read ({error.strerror}); check its rights") from error
    return parse(content, str(path), wanted)


def parse(content: bytes, name: str, wanted: set[str]) -> State:
    """The tensors in the bytes of a ``.pth`` or ``.safetensors``, unwrapped; what was unwrapped is logged.

    ``wanted`` are the keys of the network, by which the weights are found among everything else. Keys that differ
    from them are left for the caller to name. Raises :class:`CheckpointError` for whatever is not weights, naming what
    it is and the way out.
    """
    _refuse_other_files(content, name)
    held = _tensors(content, name) if _is_safetensors(content, name) else _unpickled(content, name)
    if not isinstance(held, Mapping):
        raise CheckpointError(f"checkpoint {name}: holds a {type(held).__name__}, not a state_dict; {_SAVE}")
    candidates = list(_candidates(held))
    if not candidates:
        raise CheckpointError(f"checkpoint {name}: holds no weights, but {_some(list(held))}; {_SAVE}")

    def fitness(candidate: tuple[tuple[str, ...], State, list[str]]) -> tuple[int, bool]:
        place, state, _ = candidate
        return len(wanted & set(state)), not any(map(_is_averaged, place))

    unwrapped = [(place, *_without_prefixes(state, name, wanted)) for place, state in candidates]
    place, state, said = max(unwrapped, key=fitness)  # the first of equals
    if place:
        said.insert(0, "weights taken out of " + "".join(f"[{key!r}]" for key in place))
    others = ["".join(f"[{key!r}]" for key in there) for there, other, _ in unwrapped if wanted <= set(other)]
    if len(others) > 1:
        said.append(f"{', '.join(others)} would fit as well; to take another, save it alone")
    if said:
        log.info("checkpoint %s: %s", name, "; ".join(said))
    return state


def _refuse_other_files(content: bytes, name: str) -> None:
    """:class:`CheckpointError` for what is often found under a checkpoint's name."""
    size = f"{len(content):,} bytes"
    head = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    problem = ""
    if not content:
        problem = "is empty (0 bytes); copy or download it again"
    elif head.startswith(b"version https://git-lfs"):
        problem = f"is a Git LFS pointer ({size}), not the file that it points to; fetch that with `git lfs pull`"
    elif head.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<!--")):
        problem = f"is an HTML page ({size}), such as a login or a download's question; download the file itself"
    elif content.startswith(b"\x1f\x8b"):
        problem = "is compressed with gzip; unpack it and give what was in it"
    elif content.startswith(b"\x89HDF"):
        problem = "is an HDF5 file (Keras?), not torch weights"
    elif content.startswith(b"PK"):
        problem = _zip_problem(content, size)
    elif _is_text(content[:1024]):
        start = " ".join(content[:60].decode("utf-8", "replace").split())
        problem = f"is text that begins with {start!r}, not weights; copy or download it again"
    if problem:
        raise CheckpointError(f"checkpoint {name}: {problem}")


def _zip_problem(content: bytes, size: str) -> str:
    """What is wrong with a ZIP archive as a checkpoint (torch writes one); empty when nothing is."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError):  # damaged
        return f"is cut off or damaged ({size} are here); copy or download it again"
    inside = {entry.rpartition("/")[2] for entry in names}
    if "constants.pkl" in inside:
        return (
            "is a TorchScript archive, a program with its weights; take the weights out of it: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
        )
    if "data.pkl" not in inside:
        return f"is a ZIP archive with {_some(names)}, not weights; unpack it and give the .pth or .safetensors in it"
    return _damage(archive)


def _damage(archive: zipfile.ZipFile) -> str:
    """Which part of an archive is not what was written, by its checksums: torch reads on without a look at them."""
    # torch.serialization.set_crc32_options(False) leaves 0 in place of all of them.
    if not any(entry.CRC for entry in archive.infolist()):
        return ""
    for entry in archive.infolist():
        try:
            with archive.open(entry) as part:
                while part.read(1 << 20):
                    pass
        except Exception:  # a checksum, or whatever the decompressor of a damaged header stumbles over
            return f"is damaged (its part {entry.filename!r} is not what its checksum says); copy or download it again"
    return ""


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in head) and b"\x7f" not in head


def _is_safetensors(content: bytes, name: str) -> bool:
    # The format: eight bytes of length, then a JSON object. Torch writes ZIP archives, and pickles before.
    return content[8:10] in (b'{"', b"{}") or (name.endswith(".safetensors") and content[:1] not in (b"P", b"\x80"))


def _tensors(content: bytes, name: str) -> State:
    try:
        return safetensors.torch.load(content)
    except Exception as error:  # safetensors has its own class, and lets others through for some damage
        raise CheckpointError(
            f"checkpoint {name}: is no whole .safetensors file ({len(content):,} bytes are here); "
            "copy or download it again"
        ) from error


def _unpickled(content: bytes, name: str) -> Any:
    """What torch.load gives, with ``weights_only=True``; the reason in our words, torch's text is about its own API."""
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            # Of a pickle that it did not write; the error says so in our words.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch says "Unsupported global: GLOBAL a.b.C was not …", or "Unsupported class a.b.C" among much advice.
        named = re.search(r"(?:Unsupported class|GLOBAL) ([\w.]+)", str(error))
        if named:
            raise CheckpointError(
                f"checkpoint {name}: holds more than weights (it names {named[1]}: a whole pickled model?), and "
                "nothing in a file is executed here; where it was made, save the weights alone: "
                "torch.save(model.state_dict(), 'weights.pth')"
            ) from error
        if content[:1] == b"\x80" and content[1:2] > b"\x02":  # torch writes protocol 2
            raise CheckpointError(
                f"checkpoint {name}: is a pickle that torch.save did not write (a whole pickled model?), and nothing "
                "in a file is executed here; where it was made: torch.save(model.state_dict(), 'weights.pth')"
            ) from error
        raise _damaged(content, name) from error
    except Exception as error:  # bytes that are no pickle raise whatever the unpickler stumbles over
        raise _damaged(content, name) from error


def _damaged(content: bytes, name: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {name}: is no file of torch.save, or is cut off or damaged ({len(content):,} bytes are here); "
        f"copy or download it again, or {_SAVE}"
    )


def _candidates(held: Mapping[Any, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], State]]:
    """Every dictionary inside ``held`` that has tensors under names, with the keys that lead to it; outermost first."""
    found = {
        key: tensor for key, value in held.items() if isinstance(key, str) and (tensor := _tensor(value)) is not None
    }
    if found:
        yield place, found
    if len(place) < _DEPTH:
        for key, value in held.items():
            if isinstance(value, Mapping):
                yield from _candidates(value, (*place, str(key)))


def _tensor(value: Any) -> torch.Tensor | None:
    """A tensor, or an array of numbers as one; None for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.ndim:
        return torch.from_numpy(np.ascontiguousarray(value))
    return value if isinstance(value, torch.Tensor) else None


def _without_prefixes(state: State, name: str, wanted: set[str]) -> tuple[State, list[str]]:
    """``(state, what was done)``: the keys without what wrappers put in front of them."""
    plain: State = {}
    removed: set[str] = set()
    for key, value in state.items():
        parts = key.split(".")
        kept = ".".join(part for part in parts if part not in _WRAPPERS)
        removed |= {".".join(part for part in parts if part in _WRAPPERS) + "."} if kept != key else set()
        if kept in plain:
            raise CheckpointError(f"checkpoint {name}: has {kept} twice, with and without {key!r}; {_SAVE}")
        plain[kept] = value
    said = [f"without the prefix {', '.join(map(repr, sorted(removed)))}"] if removed else []
    if removed and "n_averaged" in plain:  # torch.optim.swa_utils.AveragedModel counts beside its weights
        del plain["n_averaged"]
    return _without_owner(plain, said, wanted)


def _without_owner(state: State, said: list[str], wanted: set[str]) -> tuple[State, list[str]]:
    """Take off the name of an attribute that held the network (Lightning's ``model.``), where keys then fit."""
    if wanted & set(state):
        return state, said
    probe = min(wanted)
    owners = sorted((key.removesuffix(probe) for key in state if key.endswith(f".{probe}")), key=len)
    if not owners:
        return state, said
    inner = {
        owner: {key.removeprefix(owner): value for key, value in state.items() if key.startswith(owner)}
        for owner in owners
    }
    # The preference among dictionaries: what fits most, and of equals no averaged copy.
    best = max(owners, key=lambda owner: (len(wanted & set(inner[owner])), not _is_averaged(owner)))
    own = inner[best]
    if len(wanted & set(own)) <= len(wanted) // 2:
        return state, said
    left = [key for key in state if not key.startswith(best)]
    said = [*said, f"without the prefix {best!r}"]
    if wanted - set(own):  # something is missing: what stands elsewhere is named beside it
        return own | {key: state[key] for key in left}, said
    if left:
        said.append(f"left out {_some(left)}")
    others = [repr(owner) for owner in owners if owner != best and wanted <= set(inner[owner])]
    if others:
        said.append(f"{', '.join(others)} would fit as well; to take another, save it alone")
    return own, said


def _is_averaged(name: str) -> bool:
    return any(word in name.lower() for word in _AVERAGES)


def _some(names: list[Any]) -> str:
    shown = ", ".join(repr(name) for name in names[:3]) or "nothing"
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
