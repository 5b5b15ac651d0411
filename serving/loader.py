"""From a stage to a verified model: ask the registry, fetch the package, check all of it, keep a local copy."""

import ctypes
import gc
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from recording import files
from recording.exceptions import GazeError, InputError
from registry import baseline_errors, contract
from registry.addresses import Found, Selector
from registry.contract import VerifiedPackage
from registry.network import Network
from serving import bfloat16, cache
from serving.predictor import Predictor, best_providers

log = logging.getLogger("serving.loader")

# Packages kept on disk: the one that answers and the ones a roll-back would ask for.
KEPT_COPIES = 3

_MAKE_ROOM = "free some disk space, or give --cache or XDG_CACHE_HOME a folder on another disk"

# Characters of a selector that the name of its note repeats, for people.
_READABLE = 40

# Names of registries that are no addresses, and no folders either.
_HOSTED = ("databricks", "databricks-uc", "uc")

PRECISIONS = ("auto", "float32")
"""``auto``: bfloat16 where the processor has it and the version keeps its contract in it, else float32."""


class Stopped(Exception):
    """The loader was told to stop before the version was loaded."""


class Loader:
    """Loads what ``selector`` names, through a folder of ``copies`` that outlives the process.

    ``threads`` is what one prediction may use, ``streams`` how many predictions are asked for at once, ``precision``
    one of ``PRECISIONS``.

    Raises :class:`NoSuchVersion` when the registry holds nothing of that kind, :class:`ContractError` when a
    package is broken, :class:`RegistryError` when the registry does not answer, :class:`InputError` or
    :class:`~recording.files.DiskFull` when a version cannot be written into the folder of copies.
    """

    def __init__(
        self, selector: Selector, copies: Path, *, threads: int | None = 1, precision: str = "float32", streams: int = 1
    ) -> None:
        self.selector = selector
        self._threads = threads
        self._streams = streams
        self._stopped = threading.Event()
        self._try_bfloat16 = precision == "auto" and best_providers() == ("CPUExecutionProvider",)
        # Two registries may both have a gaze-tracker 3.
        self._copies = copies
        self._folder = copies / _digest(f"{_registry_address()}\n{selector.model}")[:16]
        readable = re.sub(r"[^a-z0-9]+", "-", str(selector).lower())
        # The readable part alone is the same for blue_1 and blue-1, or for Champion and champion.
        self._last = self._folder / f"last-{readable[:_READABLE]}-{_digest(str(selector))[:16]}.json"
        self._former_last = self._folder / f"last-{readable}.json"

    def stop(self) -> None:
        """End a load under way with :class:`Stopped`, at its next step."""
        self._stopped.set()

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise Stopped

    def find(self) -> Found:
        """Ask the registry which version is wanted now."""
        # Imported here: MLflow takes seconds to import, and a server answers from its local copy meanwhile.
        from registry import resolving

        with resolving.registry_answers():
            return resolving.find(self.selector)

    def load(self, found: Found) -> Predictor:
        """The verified predictor of ``found``, from the local copy where that is whole, else from the registry.

        :class:`Stopped` once it was told to :meth:`stop`.
        """
        place = self._place(found)
        package = self._verified_copy(place, found) or self._fetched(place, found)
        self._go_on()
        predictor = self._predictor(package, found)
        self._go_on()
        self._remember(found)
        self._prune(place)
        _give_back_memory()
        return predictor

    def last_good(self) -> tuple[Found, Predictor] | None:
        """What answered when this machine last ran, for a start without the registry; ``None`` without a copy."""
        try:
            found = self._noted()
            if found is None:
                return None
            place = self._place(found)
            kept = self._predictor(VerifiedPackage(place, contract.verify(place, found.seal)), found)
            _give_back_memory()
            return found, kept
        except (OSError, ValueError, TypeError, GazeError) as error:
            log.warning("the local copy of %s cannot be used: %s", self.selector, error)
            return None

    def _noted(self) -> Found | None:
        """What :meth:`_remember` wrote of this very selector, ``None`` where there is nothing of it.

        Earlier releases had one note for several selectors: of theirs only one that says this selector is taken.
        """
        for note in (self._last, self._former_last):
            try:
                found = Found(**files.parse_json(note.read_text(encoding="utf-8")))
            except FileNotFoundError:
                continue
            if self.selector.names(found):
                return found
        return None

    def _place(self, found: Found) -> Path:
        return self._folder / f"{found.version}-{_digest(found.identity)[:12]}"

    def _verified_copy(self, place: Path, found: Found) -> VerifiedPackage | None:
        if not files.is_folder(place):
            return None
        try:
            package = VerifiedPackage(place, contract.verify(place, found.seal))
        except GazeError as error:
            log.warning("local copy of version %d is damaged and fetched again: %s", found.version, error)
            shutil.rmtree(place, ignore_errors=True)
            return None
        with suppress(OSError):  # of a copy that another user made, or on a disk that is read-only; it is whole
            os.utime(place)
        return package

    def _fetched(self, place: Path, found: Found) -> VerifiedPackage:
        self._go_on()
        from registry import opening, resolving

        with self._writing(found):
            self._folder.mkdir(parents=True, exist_ok=True)
            arriving = Path(tempfile.mkdtemp(prefix=".arriving-", dir=self._folder))
        try:
            with self._writing(found), resolving.registry_answers():
                fetched = opening.fetch(self.selector.model, found.version, found.seal, arriving)
            with self._writing(found):
                try:
                    fetched.folder.replace(place)
                except OSError:
                    # Another worker process was faster; it verified its copy as well.
                    if not place.is_dir():
                        raise
            return replace(fetched, folder=place)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)

    @contextmanager
    def _writing(self, found: Found) -> Iterator[None]:
        """Say of which folder it is when a version cannot be written there; the registry has no part in that."""
        where = f"{self.selector.model} version {found.version} into the cache folder {self._copies}"
        try:
            yield
        except OSError as error:
            if not files.is_full(error):
                raise InputError(f"cannot write {where} ({error.strerror or error}); {cache.REMEDY}") from error
            raise files.DiskFull(f"disk full: cannot write {where}; {_MAKE_ROOM}") from error
        except files.DiskFull as error:
            raise files.DiskFull(f"disk full: cannot write {where}; {_MAKE_ROOM}") from error

    def _predictor(self, package: VerifiedPackage, found: Found) -> Predictor:
        return Predictor(
            model=self.selector.model,
            version=found.version,
            label=found.label,
            since=found.since,
            package=package,
            network=self._network(package),
            baselines=baseline_errors.of(package),
        )

    def _network(self, package: VerifiedPackage) -> Network:
        if self._try_bfloat16 and bfloat16.supported():
            try:
                return bfloat16.open_checked(package, self._streams, self._go_on)
            except bfloat16.Unfit as reason:
                log.warning("this version answers in float32, several times slower than in bfloat16: %s", reason)
        return package.network(self._threads, best_providers())

    def _remember(self, found: Found) -> None:
        """Note what answers, for a start without the registry; what is loaded answers without the note too."""
        note = json.dumps(asdict(found))
        try:
            if not self._last.exists() or self._last.read_bytes() != note.encode():
                files.write_text(self._last, note)
        except (OSError, files.DiskFull) as error:
            log.warning(
                "version %d answers, but a start without the registry may not find it: %s cannot be written (%s)",
                *(found.version, self._last, error),
            )

    def _prune(self, in_use: Path) -> None:
        copies = [path for path in self._folder.iterdir() if path.is_dir() and path.name[0].isdigit()]
        copies.sort(key=lambda path: (path == in_use, path.stat().st_mtime), reverse=True)
        for old in copies[KEPT_COPIES:]:
            shutil.rmtree(old, ignore_errors=True)


def _digest(text: str) -> str:
    """Of any text that a command line can carry, also of one that is no UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _give_back_memory() -> None:
    """Hand the memory that loading took and freed back to the system; glibc would keep a hundred megabytes of it."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _registry_address() -> str:
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        if os.environ.get(name):
            return _from_anywhere(os.environ[name])
    return str(Path.cwd())  # MLflow's default is a database in the working directory


def _from_anywhere(address: str) -> str:
    """``address`` as it means the same in any folder: that of a relative file is another registry in each.

    What is no file, or absolute already, stays as it is.
    """
    scheme, colon, rest = address.partition(":")
    if scheme.partition("+")[0] == "sqlite":  # with or without its driver, sqlite+pysqlite
        path, mark, options = rest.removeprefix("///").partition("?")
        if path and not path.startswith((":memory:", "/")):
            return f"{scheme}:///{Path(path).resolve()}{mark}{options}"
    elif scheme == "file" and not rest.startswith("/"):
        return f"file://{Path(rest).resolve()}"
    elif not colon and not address.startswith("/") and address not in _HOSTED:
        return str(Path(address).resolve())
    return address
