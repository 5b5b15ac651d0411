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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from recording import files
from recording.exceptions import GazeError, NoSuchVersion, RegistryError
from registry import contract
from registry.network import GazeNetwork, Network
from serving import bfloat16
from serving.predictor import Predictor, best_providers

log = logging.getLogger("serving.loader")

# Packages kept on disk: the one that answers and the ones a roll-back would ask for.
KEPT_COPIES = 3

PRECISIONS = ("auto", "float32")
"""``auto``: bfloat16 where the processor has it and the version keeps its contract in it, else float32."""


@dataclass(frozen=True)
class Selector:
    """Which version is wanted: the one in a stage, the one behind an alias, or a fixed number."""

    model: str = "gaze-tracker"
    stage: str = "Production"
    alias: str = ""
    version: int = 0

    def __str__(self) -> str:
        if self.version:
            return f"version {self.version}"
        return f"alias {self.alias}" if self.alias else f"stage {self.stage}"


@dataclass(frozen=True)
class Found:
    """What the registry answered: a version and since when it is the wanted one."""

    version: int
    label: str
    """What selects it: the stage's name, ``@alias``, or empty for a fixed version."""
    since: str
    """ISO 8601 time of the promotion, empty where the registry does not know."""
    identity: str
    """Changes when the same number is another model (registered again after the name was deleted)."""
    warning: str = ""
    """What the registry found odd (stage and alias that disagree), for the log."""


class Loader:
    """Loads what ``selector`` names, through a cache folder that outlives the process.

    ``threads`` is what one prediction may use, ``streams`` how many predictions are asked for at once, ``precision``
    one of ``PRECISIONS``.

    Raises :class:`NoSuchVersion` when the registry holds nothing of that kind, :class:`ContractError` when a
    package is broken, :class:`RegistryError` when the registry does not answer.
    """

    def __init__(
        self, selector: Selector, cache: Path, *, threads: int | None = 1, precision: str = "float32", streams: int = 1
    ) -> None:
        self.selector = selector
        self._threads = threads
        self._streams = streams
        self._try_bfloat16 = precision == "auto" and best_providers() == ("CPUExecutionProvider",)
        # Two registries may both have a gaze-tracker 3.
        registry_address = hashlib.sha256(f"{_registry_address()}\n{selector.model}".encode()).hexdigest()[:16]
        self._folder = cache / registry_address
        self._last = self._folder / f"last-{re.sub(r'[^a-z0-9]+', '-', str(selector).lower())}.json"

    def find(self) -> Found:
        """Ask the registry which version is wanted now."""
        with registry_answers():
            return _find(self.selector)

    def load(self, found: Found) -> Predictor:
        """The verified predictor of ``found``, from the local copy where that is whole, else from the registry."""
        place = self._place(found)
        sealed = self._verified_copy(place, found) or self._fetched(place, found)
        predictor = self._predictor(place, sealed, found)
        self._remember(found)
        self._prune(place)
        _give_back_memory()
        return predictor

    def last_good(self) -> tuple[Found, Predictor] | None:
        """What answered when this machine last ran, for a start without the registry; ``None`` without a copy."""
        try:
            found = Found(**json.loads(self._last.read_text(encoding="utf-8")))
            place = self._place(found)
            kept = self._predictor(place, contract.verify(place), found)
            _give_back_memory()
            return found, kept
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, GazeError) as error:
            log.warning("the local copy of %s cannot be used: %s", self.selector, error)
            return None

    def _place(self, found: Found) -> Path:
        return self._folder / f"{found.version}-{hashlib.sha256(found.identity.encode()).hexdigest()[:12]}"

    def _verified_copy(self, place: Path, found: Found) -> contract.Contract | None:
        if not place.is_dir():
            return None
        try:
            sealed = contract.verify(place)
        except GazeError as error:
            log.warning("local copy of version %d is damaged and fetched again: %s", found.version, error)
            shutil.rmtree(place, ignore_errors=True)
            return None
        os.utime(place)
        return sealed

    def _fetched(self, place: Path, found: Found) -> contract.Contract:
        self._folder.mkdir(parents=True, exist_ok=True)
        arriving = Path(tempfile.mkdtemp(prefix=".arriving-", dir=self._folder))
        try:
            with registry_answers():
                from registry import versions

                fetched = versions.download(self.selector.model, found.version, arriving)
                sealed = versions.verify_fetched(versions.get(self.selector.model, found.version), fetched)
            try:
                fetched.replace(place)
            except OSError:
                # Another worker process was faster; it verified its copy as well.
                if not place.is_dir():
                    raise
            return sealed
        finally:
            shutil.rmtree(arriving, ignore_errors=True)

    def _predictor(self, folder: Path, sealed: contract.Contract, found: Found) -> Predictor:
        network = self._network(folder, sealed)
        return Predictor(
            model=self.selector.model,
            version=found.version,
            label=found.label,
            since=found.since,
            contract=sealed,
            network=network,
            folder=folder,
        )

    def _network(self, folder: Path, sealed: contract.Contract) -> Network:
        if self._try_bfloat16 and bfloat16.supported():
            try:
                return bfloat16.open_checked(folder, sealed, self._streams)
            except bfloat16.Unfit as reason:
                log.warning("this version answers in float32, several times slower than in bfloat16: %s", reason)
        return GazeNetwork(folder / contract.NETWORK, threads=self._threads, providers=best_providers())

    def _remember(self, found: Found) -> None:
        files.write_text(self._last, json.dumps(asdict(found)))

    def _prune(self, in_use: Path) -> None:
        copies = [path for path in self._folder.iterdir() if path.is_dir() and path.name[0].isdigit()]
        copies.sort(key=lambda path: (path == in_use, path.stat().st_mtime), reverse=True)
        for old in copies[KEPT_COPIES:]:
            shutil.rmtree(old, ignore_errors=True)


def _give_back_memory() -> None:
    """Hand the memory that loading took and freed back to the system; glibc would keep a hundred megabytes of it."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def registry_answers() -> Iterator[None]:
    """Turn what MLflow and the network raise into a one-line :class:`RegistryError`."""
    # Imported here: MLflow takes seconds to import, and a server answers from its local copy meanwhile.
    from mlflow.exceptions import MlflowException

    from registry.command_line import tracking_problem

    try:
        yield
    except MlflowException as error:
        raise RegistryError(tracking_problem(error)) from error
    except OSError as error:
        raise RegistryError(f"the registry's files cannot be read ({error.strerror or error})") from error


def cache_folder() -> Path:
    """Where copies of versions are kept unless ``--cache`` says otherwise (XDG Base Directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gaze-serving"


def _registry_address() -> str:
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        if os.environ.get(name):
            return os.environ[name]
    return str(Path.cwd())  # MLflow's default is a database in the working directory


def _find(selector: Selector) -> Found:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    from registry import stages

    client = MlflowClient()
    if not selector.version and not selector.alias:
        resolved = stages.resolve(selector.model, stage=selector.stage)
        label, since, warning = resolved.stage, resolved.since.isoformat(timespec="seconds"), resolved.warning or ""
        entry = client.get_model_version(selector.model, str(resolved.version))
    else:
        label, since, warning = (f"@{selector.alias}" if selector.alias else ""), "", ""
        try:
            entry = (
                client.get_model_version(selector.model, str(selector.version))
                if selector.version
                else client.get_model_version_by_alias(selector.model, selector.alias)
            )
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise NoSuchVersion(
                f"model {selector.model} has no {selector}; see what there is with python -m registry list"
            ) from error
    return Found(int(entry.version), label, since, f"{entry.source} {entry.creation_timestamp}", warning)
