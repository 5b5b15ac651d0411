"""Where a study is kept: a file of its own that one process runs at a time, or a database that several work on.

In the database, who runs a trial gives a sign of life every few seconds; a trial without one is tried again by whoever
notices (Optuna's heartbeats and its own retry). Locks are PostgreSQL's advisory ones: they end with the connection, so
that nobody who is gone holds one. A database that stops is waited for.
"""

import fcntl
import functools
import hashlib
import inspect
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from recording.exceptions import InputError
from recording.files import is_there
from registry import database
from registry.logins import hide
from training import sqlite
from training.orphans import end_run

log = logging.getLogger(__name__)

BEAT_S = 10
GRACE_S = 120  # without a sign of life; a database may be away for a while without anybody being given up
MOST_RETRIES = 3
TRIAL = "trial-"
"""With this the names of a trial's files begin."""
PATIENCE_S = 180.0
POLL_S = 1.0
CONNECT_S = 10
# Of the first tables that Optuna makes, with a column of each.
_TABLES = {"studies": "study_name", "version_info": "schema_version"}


class Storage(Protocol):
    """Where a study is kept, and who else works on it."""

    where: str
    """As messages name it."""
    shared: bool
    """Whether other processes may run trials of the same study."""

    def opened(self) -> str | BaseStorage:
        """For :func:`optuna.create_study`."""

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else opens the study or proposes a trial meanwhile."""

    def give_up_lost(self, study: optuna.Study) -> None:
        """Trials that say RUNNING and that nobody runs have failed, and are tried again; only when :meth:`alone`."""

    def beat(self, trials: list[optuna.Trial], *, now: bool = False) -> None:
        """A sign of life of this process and of its trials, if one is due or it is to be ``now``."""

    def leads(self) -> bool:
        """Whether it is for this process to make something of the study; once yes, always."""

    def is_alive(self, run_id: str) -> bool:
        """Whether the process of that parent run is there."""

    def close(self) -> None:
        """Let others run the study."""


class StudyFile:
    """:class:`Storage` in ``study.db`` in the study's own folder, with a lock while somebody runs it."""

    shared = False

    def __init__(self, folder: Path, name: str):
        self.path = folder / "study.db"
        self.where, self.name = str(self.path), name
        self._lock = (folder / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise InputError(
                f"study {name!r} is being run by another process; wait for it, or choose another name"
            ) from None

    def opened(self) -> str:
        if fault := database.fault(self.path, _TABLES):
            raise InputError(f"study {self.name!r}: {self.where} cannot be used ({fault}); choose another study name")
        self._check_not_lost()
        sqlite.be_patient()
        # Quoted: SQLAlchemy reads a %20 in the folder's name as a space, and a ? as the end of the path.
        return f"sqlite:///{quote(str(self.path))}"

    def _check_not_lost(self) -> None:
        """:class:`InputError` where trials were run and what they found is gone: new ones would overwrite theirs."""
        if is_there(self.path) and self.path.stat().st_size:
            return
        trials = sorted(path.name for path in self.path.parent.glob(f"{TRIAL}*"))
        if trials:
            gone = "is empty" if is_there(self.path) else "is gone"
            raise InputError(
                f"study {self.name!r}: {self.where} {gone}, and {trials[0]} beside it is of an earlier search, which a "
                f"new one would overwrite; put the file back, delete {TRIAL}* there, or choose another study name"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def give_up_lost(self, study: optuna.Study) -> None:
        """Nobody else runs it: the lock is ours."""

    def beat(self, trials: list[optuna.Trial], *, now: bool = False) -> None:
        """Nobody listens."""

    def leads(self) -> bool:
        return True

    def is_alive(self, run_id: str) -> bool:
        return False

    def close(self) -> None:
        self._lock.close()


class StudyDatabase:
    """:class:`Storage` in PostgreSQL, for the process with the parent run ``run_id``.

    Raises :class:`InputError` when it is no such address or cannot be reached.
    """

    shared = True

    def __init__(self, url: str, name: str, run_id: str):
        self.url, self.name = check_address(url), name
        self.where = make_url(self.url).render_as_string(hide_password=True)
        # Each lock is a connection's: none may be handed on to somebody else with locks on it.
        self._engine = create_engine(
            self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": CONNECT_S}
        )
        self._held = {_key("alive", run_id)}
        self._beaten = 0.0
        try:
            self._connection = self._engine.connect()
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", error)).strip().split("\n")[0]
            raise InputError(
                f"storage={self.where}: cannot be reached ({reason}); start it, or check address"
            ) from error
        self._take_up()

    def opened(self) -> BaseStorage:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._storage = _PatientStorage(
                self.url,
                engine_kwargs={"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_S}},
                heartbeat_interval=BEAT_S,
                grace_period=GRACE_S,
                heartbeat_stale_trial_callback=_try_again,
            )
        return self._storage

    @contextmanager
    def alone(self) -> Iterator[None]:
        connection = _patiently(self._locked)
        try:
            yield
        finally:
            with suppress(DBAPIError):  # with the connection the lock is gone too
                connection.close()

    def _locked(self) -> Connection:
        connection = self._engine.connect()
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _key("alone", self.name)})
        return connection

    def give_up_lost(self, study: optuna.Study) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(study)
        for one in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "config" not in one.user_attrs:  # its process ended between two writes, before the first sign of life
                study.tell(one.number, state=TrialState.FAIL)
                study.enqueue_trial(one.system_attrs.get("fixed_params", one.params))

    def beat(self, trials: list[optuna.Trial], *, now: bool = False) -> None:
        if not now and time.monotonic() - self._beaten < BEAT_S:
            return
        for trial in trials:
            self._storage.record_heartbeat(trial._trial_id)
        try:
            self._connection.execute(text("SELECT 1"))
        except DBAPIError:
            self._connection = _patiently(self._engine.connect)
            self._take_up()
        self._beaten = time.monotonic()

    def _take_up(self) -> None:
        """The locks of before, on a new connection: whoever took one meanwhile, has it."""
        self._held = {key for key in self._held if self._try(self._connection, key)}

    def leads(self) -> bool:
        key = _key("lead", self.name)
        if key not in self._held and self._try(self._connection, key):
            self._held.add(key)
        return key in self._held

    def is_alive(self, run_id: str) -> bool:
        key = _key("alive", run_id) % 2**64  # as PostgreSQL lists it: two unsigned halves
        with self._engine.connect() as connection:  # looked at, not tried: whoever is about to take it must get it
            found = connection.execute(
                text(
                    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
                    "WHERE locktype = 'advisory' AND granted AND datname = current_database() "
                    "AND objsubid = 1 AND classid = :high AND objid = :low"
                ),
                {"high": key >> 32, "low": key & 0xFFFFFFFF},
            )
            return bool(found.scalar())

    @staticmethod
    def _try(connection: Connection, key: int) -> bool:
        return bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar())

    def close(self) -> None:
        with suppress(DBAPIError):
            # The server notices a closed connection only some time later; whoever asks next must find them free.
            self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
            self._connection.close()


def _key(kind: str, name: str) -> int:
    """A number of 64 bits for PostgreSQL's advisory locks."""
    return int.from_bytes(hashlib.sha256(f"gaze {kind} {name}".encode()).digest()[:8], "big", signed=True)


def check_address(url: str) -> str:
    """The address, if it can be used as one and does not carry a password: parameters are shown to everybody."""
    try:
        parts = make_url(url)
    except ArgumentError:
        raise InputError("storage=: is no address; give postgresql+psycopg2://USER@HOST/DATABASE") from None
    without = hide(url, url)
    shown = without.partition("?")[0]
    if parts.get_backend_name() != "postgresql":
        raise InputError(
            f"storage={shown}: several processes need PostgreSQL; give "
            "postgresql+psycopg2://USER@HOST/DATABASE, or leave it empty for a file in the study's folder"
        )
    if parts.password or without != url:
        raise InputError(
            f"storage={shown}: MLflow shows parameters to everybody; leave the "
            "password out and put it into PGPASSWORD or ~/.pgpass"
        )
    return url


def reading(url: str) -> RDBStorage:
    """A database that others work on, to be looked at: nothing is made or changed in it."""
    timeout = {"connect_args": {"connect_timeout": CONNECT_S}}
    return RDBStorage(url, engine_kwargs=timeout, skip_compatibility_check=True, skip_table_creation=True)


def _try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """A trial without a sign of life: its child run is ended, and Optuna queues it again."""
    log.warning(
        "study %s: trial %d gave no sign of life for %d s; it is tried again", study.study_name, trial.number, GRACE_S
    )
    end_run(trial.user_attrs.get("run_id"), "KILLED", "its search gave no sign of life")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback(max_retry=MOST_RETRIES)(study, trial)


def _patiently(operation: Callable[[], Any]) -> Any:
    """What ``operation`` gives, once the database answers; its error when that takes longer than :data:`PATIENCE_S`."""
    deadline, told = time.monotonic() + PATIENCE_S, False
    while True:
        try:
            return operation()
        except (StorageInternalError, OperationalError, InterfaceError) as error:
            away = error.__cause__ if isinstance(error, StorageInternalError) else error
            if not isinstance(away, OperationalError | InterfaceError) or time.monotonic() > deadline:
                raise
            if not told:
                log.warning(
                    "the study's database does not answer (%s); waiting for it", str(away.orig).strip().split("\n")[0]
                )
                told = True
            time.sleep(POLL_S)


class _PatientStorage(RDBStorage):
    """Optuna's storage, each of whose operations waits for a database that has stopped."""

    _inside = False  # an operation that others are made of is repeated as a whole


def _patient(operation: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(operation)
    def repeated(self: _PatientStorage, *arguments: Any, **options: Any) -> Any:
        if self._inside:
            return operation(self, *arguments, **options)
        self._inside = True
        try:
            return _patiently(lambda: operation(self, *arguments, **options))
        finally:
            self._inside = False

    return repeated


for _name, _operation in vars(RDBStorage).items():
    if inspect.isfunction(_operation) and not _name.startswith("__"):
        setattr(_PatientStorage, _name, _patient(_operation))
