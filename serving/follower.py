"""Keeps the version that answers the one that the registry names, without a request noticing."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from recording.exceptions import GazeError, NoRegistry, NoSuchVersion
from registry.addresses import Found
from registry.command_line import one_line
from serving.loader import Loader, Stopped
from serving.metrics import Metrics
from serving.predictor import Predictor

log = logging.getLogger("serving.follower")

# A version that would not load is tried again, since a half-uploaded artifact may become whole: after one poll,
# then after twice as long each time, at most this many seconds apart.
LONGEST_WAIT = 300.0

# Characters of what an error that nobody foresaw says of itself.
_SAID = 300

THREAD = "follower"
END_S = 5.0
"""How long a server that ends waits for what is being asked or loaded. Loading gives up at its next step."""


@dataclass(frozen=True)
class Standing:
    """How the server stands with the registry; the text fields are for people."""

    stale: bool = True
    """True while the registry has not confirmed what answers."""
    checked: float = 0.0
    """Unix time of the last answer of the registry, 0 before the first."""
    problem: str = ""
    """Why the wanted version is not the one that answers, empty when all is well."""
    failed_version: int = 0
    """The version that would not load, 0 when there is none."""
    failures: int = 0
    """Attempts to load a version that failed since the start."""
    loads: int = 0
    """Versions taken into use since the start."""


class Follower:
    """Polls the registry and swaps the predictor between two requests.

    A request takes :attr:`current` once and keeps it to its end; the old predictor is freed when the last of
    its requests has gone. A new version is loaded and verified beside the old one and only then put in its
    place: any failure leaves the old one answering.

    Args:
        loader: Where versions come from.
        poll: Seconds between two questions to the registry.
        metrics: Counts reloads.
        clock: Monotonic seconds, for the waits between attempts.
    """

    def __init__(
        self, loader: Loader, *, poll: float, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loader = loader
        self._poll = poll
        self._metrics = metrics
        self._clock = clock
        self._current: Predictor | None = None
        self._in_use: Found | None = None
        self._standing = Standing()
        self._failed: Found | None = None
        self._retry_at = 0.0
        self._wait = poll
        self._logged = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=THREAD, daemon=True)

    @property
    def current(self) -> Predictor | None:
        """The predictor that answers, ``None`` before there is one."""
        return self._current

    @property
    def standing(self) -> Standing:
        """The last word about the registry."""
        return self._standing

    def start(self) -> None:
        """Answer from the local copy where there is one, and follow the registry from now on."""
        if (kept := self._loader.last_good()) is not None:
            self._use(*kept)
            self._say(f"answering with the local copy of version {kept[0].version} until the registry confirms it")
        self._metrics.stale.set(1)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more, and wait up to :data:`END_S` for what is under way: a load takes away what it has half fetched.

        Python ends a thread that is left where it comes back to it, and in the C++ of ONNX Runtime or OpenVINO that
        aborts the process: only :func:`is_at_work` says whether the process can end in the usual way.
        """
        self._stop.set()
        self._loader.stop()
        if self._thread.is_alive():
            self._thread.join(END_S)

    def check(self) -> None:
        """Ask the registry once and act on its answer. Raises nothing: what goes wrong is in :attr:`standing`."""
        try:
            found = self._loader.find()
        except NoRegistry as error:  # a database file that is not there has said nothing about any version
            self._not_heard(one_line(error))
        except NoSuchVersion as error:
            self._claim_nothing()
            self._heard(one_line(error))
        except GazeError as error:
            self._not_heard(one_line(error))
        except Exception as error:
            # Whatever the registry's client stumbles over, the version in use goes on answering.
            self._not_heard(f"the registry: {_named(error)}", error)
        else:
            self._act_on(found)
        self._metrics.stale.set(self._standing.stale)

    def _act_on(self, found: Found) -> None:
        if self._in_use is not None and self._in_use.identity == found.identity:
            if self._in_use != found:  # the same version, promoted again or under another name
                self._rename(found)
            self._failed = None
            self._heard(found.warning)
            return
        if self._failed is not None and self._failed.identity == found.identity and self._clock() < self._retry_at:
            self._standing = replace(self._standing, checked=time.time())
            return
        try:
            predictor = self._loader.load(found)
        except Stopped:
            return
        except Exception as error:
            self._could_not_load(found, error)
            return
        self._failed = None
        self._use(found, predictor)
        self._heard(found.warning)
        log.info("version %d of %s answers now", found.version, predictor.model)

    def _could_not_load(self, found: Found, error: Exception) -> None:
        same = self._failed is not None and self._failed.identity == found.identity
        self._wait = min(self._wait * 2, LONGEST_WAIT) if same else self._poll
        self._retry_at = self._clock() + self._wait
        self._failed = found
        self._claim_nothing()
        self._metrics.reloads.labels("failed").inc()
        kept = f"version {self._in_use.version} goes on answering" if self._in_use else "nothing answers yet"
        reason = one_line(error) if isinstance(error, GazeError) else f"{_named(error)} while loading"
        problem = f"version {found.version} is not taken into use: {reason}; {kept}"
        self._standing = replace(
            self._standing,
            stale=False,
            checked=time.time(),
            problem=problem,
            failed_version=found.version,
            failures=self._standing.failures + 1,
        )
        self._say(problem, None if isinstance(error, GazeError) else error)

    def _use(self, found: Found, predictor: Predictor) -> None:
        self._current, self._in_use = predictor, found
        self._standing = replace(self._standing, loads=self._standing.loads + 1)
        self._metrics.reloads.labels("loaded").inc()
        self._metrics.version.set(predictor.version)

    def _rename(self, found: Found) -> None:
        self._in_use = found
        if self._current is not None:
            self._current = replace(self._current, label=found.label, since=found.since)

    def _claim_nothing(self) -> None:
        """What answers has lost its stage or alias, to another version or to none: answers must not name it."""
        if self._in_use is not None and self._in_use.label:
            self._rename(replace(self._in_use, label="", since=""))

    def _heard(self, problem: str) -> None:
        """The registry answered; ``problem`` is what it had to say, empty when all is well."""
        self._standing = replace(self._standing, stale=False, checked=time.time(), problem=problem, failed_version=0)
        self._say(problem)

    def _not_heard(self, problem: str, unforeseen: Exception | None = None) -> None:
        """The registry did not answer: what answers keeps the name that the registry last gave it, and is stale."""
        self._standing = replace(self._standing, stale=True, problem=problem)
        self._say(problem, unforeseen)

    def _say(self, problem: str, unforeseen: Exception | None = None) -> None:
        """Log a problem once, not at every poll, with the traceback of what is ours to mend; none of a server's end."""
        if problem and problem != self._logged and not self._stop.is_set():
            log.warning("%s", problem, exc_info=unforeseen)
        self._logged = problem

    def _follow(self) -> None:
        while True:
            self.check()
            if self._stop.wait(self._poll):
                return


def _named(error: Exception) -> str:
    """An error that nobody foresaw, by its kind and what it says."""
    said = one_line(error)
    return f"{type(error).__name__} ({said[:_SAID]})" if said else type(error).__name__


def is_at_work() -> bool:
    """Whether a follower of this process asks or loads, or was never told to stop."""
    return any(thread.name == THREAD for thread in threading.enumerate())
