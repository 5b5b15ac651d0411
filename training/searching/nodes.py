"""What runs on a node of a Ray cluster: a slot for trials, one after the other, and what is asked of a node before.

A slot waits for the process in which its trial runs and passes on what it says, unread: the parcels are opened by the
trial and by the search alone, so that a slot needs neither torch nor MLflow, which take seconds and memory to import.
"""

import fcntl
import hashlib
import importlib.metadata
import io
import os
import pickle
import platform
import shutil
import socket
import sys
import tarfile
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

from recording import files, sample_files
from recording.exceptions import InputError
from training.searching.process import LAST_WORDS, Processes

PACKAGES = ("ray", "torch", "torchvision", "numpy", "scikit-learn", "mlflow", "optuna", "av", "opencv-python-headless")
"""Whose versions a trial's result depends on, or what it says to the search."""
ROOMS = ("recording", "registry", "training")
READ = (".json", ".csv")
"""Endings of the files of a folder of samples that trials read beside the driver's pictures."""
CHECKPOINT, STATE = "checkpoint", "state"
"""What a trial leaves in files, which the search wants where it does not see the node's."""
POLL_S = 1.0
REACH_S = 10.0


@dataclass(frozen=True)
class About:
    """What must be the same on all nodes, and what each of them must reach."""

    host: str
    versions: dict[str, str]
    code: str
    """sha256 of the project's own modules."""
    sees_work: bool
    """Whether ``work=`` is the folder that the search sees."""
    unreachable: str
    """Why MLflow cannot be reached from there; "" where it can."""


def about(token: Path, tracking_uri: str) -> About:
    """Of this node. ``token`` is a file that the search has just put into ``work=``."""
    versions = {"Python": platform.python_version()}
    versions |= {name: _version(name) for name in PACKAGES}
    return About(socket.gethostname(), versions, code_digest(), token.is_file(), _unreachable(tracking_uri))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package).partition("+")[0]  # +cpu and +cu128 are one version
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def code_digest() -> str:
    """sha256 of the project's modules that a trial may use."""
    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _unreachable(address: str) -> str:
    parts = urlsplit(address)
    if not parts.scheme.startswith("http"):
        return ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), REACH_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


@dataclass(frozen=True)
class Parcel:
    """A trial on its way: its process opens it."""

    number: int
    name: str
    content: bytes
    """Body and spec, pickled."""


def open_parcel(parcel: Parcel, connection: Connection) -> None:
    """Body of the trial's process: do what is in the parcel, and seal what it says."""
    body, spec = pickle.loads(parcel.content)
    body(spec, cast(Connection, _Sealing(connection)))


class _Sealing:
    """An end of a pipe whose messages show their kind alone."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self.recv = connection.recv

    def send(self, message: tuple[str, Any]) -> None:
        kind, what = message
        self.connection.send((kind, pickle.dumps(what)))


Heard = tuple[str | None, Any, dict[str, bytes]]
"""Kind and content of a trial's message, sealed but for ``lost``, or ``None``; and the files that are new."""


class Slot:
    """A place for one trial at a time: the actor that the search talks to. Ray gives it its share of the node.

    ``environment``: where MLflow is, and who asks there. Every call that waits for the trial returns after
    :data:`POLL_S` of silence, so that others get their turn.
    """

    def __init__(self, environment: dict[str, str], node: str):
        os.environ.update(environment)
        # Else every trial would import Ray's worker program, which is this process's main module.
        sys.modules["__main__"].__file__ = None
        self.place, self._lock = _own_place(node)
        self._processes = Processes(1, body=cast(Any, open_parcel))
        self._watched: dict[str, Path] = {}
        self._kept = 0

    def settle(self) -> Path:
        """The slot's folder, which all slots of its node share."""
        return self.place

    def start(self, parcel: Parcel, watched: dict[str, Path], given: dict[str, bytes], parts: dict[str, Any]) -> Heard:
        """Begin a trial.

        ``watched``: where it leaves :data:`CHECKPOINT` and :data:`STATE`, to be passed on when they change; ``given``:
        such files to begin with; ``parts``: what it reads, by digest, as references to Ray's store.
        """
        for digest, reference in parts.items():
            self._fetch(digest, reference)
        for name, content in given.items():
            files.write_bytes(watched[name], content)
        self._watched = watched
        self._kept = self._when_kept()
        self._processes.start(cast(Any, parcel))
        return self.hear()

    def hear(self) -> Heard:
        """What the trial says next, and what it has written."""
        said = self._processes.hear(POLL_S)
        kind, what = said[0][1:] if said else (None, None)
        new = self._written(kind)
        if kind in (*LAST_WORDS, "lost"):
            self._clean()
        return kind, what, new

    def _written(self, kind: str | None) -> dict[str, bytes]:
        """What is new of a trial that goes on, or the weights of one that is done."""
        if kind == "done" and CHECKPOINT in self._watched:
            return {CHECKPOINT: self._watched[CHECKPOINT].read_bytes()}
        when = self._when_kept()
        if kind in (*LAST_WORDS, "lost") or when == self._kept:
            return {}
        self._kept = when
        return {STATE: self._watched[STATE].read_bytes()}

    def _when_kept(self) -> int:
        state = self._watched.get(STATE)
        return state.stat().st_mtime_ns if state is not None and state.exists() else 0

    def answer(self, number: int, go_on: bool) -> Heard:
        """Whether the trial is to go on; then as :meth:`hear`."""
        self._processes.answer(number, go_on)
        return self.hear()

    def close(self, alone: bool = False) -> None:
        """End the trial, if one runs; where the slot is left ``alone``, because the cluster's head is gone, itself too.

        Ray would keep it, and what it has of the node, until the node has missed the head for a minute or two.
        """
        self._processes.close()
        self._clean()
        if alone:
            threading.Timer(POLL_S, os._exit, (0,)).start()  # when this call is answered

    def _clean(self) -> None:
        for path in self._watched.values():
            path.unlink(missing_ok=True)
        self._watched = {}

    def _fetch(self, digest: str, reference: Any) -> None:
        """Unpack a part, unless another slot of the node has done so."""
        import ray  # here alone: what opens a parcel does without

        into = self.place / "parts" / digest
        with (self.place / "parts.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if into.is_dir():
                return
            try:
                unpack(ray.get(reference[0]), into)
            except OSError as error:
                raise InputError(
                    f"node {socket.gethostname()}: cannot write {into} ({error.strerror}); free some disk, or set "
                    "TMPDIR to a larger one before Ray is started there"
                ) from error


def _own_place(node: str) -> tuple[Path, Any]:
    """The folder of a node for caches and copies, and the lock that says that it is in use.

    It stays while the node is there, for the next search; those of nodes that are gone are removed by the next one.
    """
    root = Path(tempfile.gettempdir()) / f"gaze-nodes-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    with (root / "lock").open("a") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        for other in root.iterdir():
            if other.is_dir() and other.name != node:
                _remove_unused(other)
        place = root / node
        place.mkdir(exist_ok=True)
        lock = (place / "lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_SH)
    return place, lock


def _remove_unused(place: Path) -> None:
    with (place / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(place, ignore_errors=True)


def pack(path: Path) -> bytes:
    """A file, or what trials read of a prepared folder, as one archive; the same content gives the same bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for file in [path] if path.is_file() else sorted(path.iterdir()):
            if path.is_file() or sample_files.is_picture(file.name) or file.name.endswith(READ):
                entry = tarfile.TarInfo(file.name)
                entry.size = file.stat().st_size
                with file.open("rb") as opened:
                    archive.addfile(entry, opened)
    return content.getvalue()


def unpack(content: Any, into: Path) -> None:
    """Write an archive's files into a new folder, all or none."""
    into.parent.mkdir(exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=into.parent, suffix=files.UNFINISHED))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for entry in archive:  # plain files of one folder; extractall is only safe from Python 3.11.4 on
            with (unfinished / Path(entry.name).name).open("wb") as file:
                shutil.copyfileobj(cast(IO[bytes], archive.extractfile(entry)), file)
    unfinished.rename(into)
