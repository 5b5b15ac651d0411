"""The server process: settings, the application they make, uvicorn around it."""

import asyncio
import dataclasses
import json
import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, cast

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from recording.exceptions import InputError
from recording.processors import cores
from registry.addresses import Selector
from serving import api, cache
from serving.batching import Batcher
from serving.follower import Follower
from serving.limits import Limits
from serving.loader import PRECISIONS, Loader
from serving.metrics import Metrics
from serving.predictor import best_providers
from serving.service import Service

# How the settings reach worker processes; the token has its own variable and is never in the first.
SETTINGS = "GAZE_SERVING_SETTINGS"
TOKEN = "GAZE_SERVING_TOKEN"


OWN_FILES = 200
"""Files that a process opens besides its connections, and connections that it takes only to refuse them."""

SPARE = 8
"""Connections over the limit that are kept, to be answered that there are too many."""

PATIENCE_S = 120
"""How long a worker may take for a sign of life. It gives the first one when it has imported what it needs: on a busy
machine that takes many seconds, and one that is ended and begun again meanwhile is never there."""

_SIGN_S = 0.5  # that one look waits for it

APPLICATION = "serving.server:application"
HUNG_UP = 128 + signal.SIGHUP
"""The exit status of a server whose terminal was closed."""

log = logging.getLogger("serving.server")


@dataclass(frozen=True)
class Settings:
    """Everything that the command line says about a server."""

    selector: Selector = field(default_factory=Selector)
    limits: Limits = field(default_factory=Limits)
    poll: float = 5.0
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    cache: str = ""
    precision: str = "auto"

    def __post_init__(self) -> None:
        if not 0.1 <= self.poll <= 3600:
            raise InputError(f"poll is {self.poll:g}; choose 0.1 to 3600 seconds")
        if not 1 <= self.workers <= 64:
            raise InputError(f"workers is {self.workers}; choose 1 to 64")
        if not 0 <= self.port <= 65535:
            raise InputError(f"port is {self.port}; choose 0 to 65535")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision is {self.precision!r}; choose one of {', '.join(PRECISIONS)}")

    def to_json(self) -> str:
        """The settings as text, for the environment of worker processes."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings that :meth:`to_json` wrote."""
        content = json.loads(text)
        return cls(**content | {"selector": Selector(**content["selector"]), "limits": Limits(**content["limits"])})


def application() -> FastAPI:
    """The application of one worker process, from the settings in its environment."""
    _set_up_log()
    if multiprocessing.parent_process() is not None:
        # Of a terminal that is closed all processes hear. The first one tells the others, so that they end in order.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _leave_out_arrow()
    return assemble(Settings.from_json(os.environ[SETTINGS]), token=os.environ.get(TOKEN, ""))


def _leave_out_arrow() -> None:
    """Keep Apache Arrow out of this process, for 40 MiB.

    MLflow's client imports pandas, and pandas imports Arrow wherever it is installed and does without where it is
    not. Nothing that a server asks MLflow for is a table.
    """
    sys.modules.setdefault("pyarrow", None)  # type: ignore[arg-type]  # None: not to be imported


def assemble(settings: Settings, *, token: str = "") -> FastAPI:
    """Loader, follower, batcher and routes for ``settings``; nothing is loaded before the application starts."""
    metrics = Metrics()
    on_cpu = best_providers() == ("CPUExecutionProvider",)
    threads = max(1, cores() // settings.workers) if on_cpu else 1
    batcher = Batcher(
        threads=threads,
        limit=settings.limits.queue,
        largest=16 if on_cpu else 64,
        observe=metrics.batch.observe,
    )
    loader = Loader(settings.selector, cache.folder(settings.cache), precision=settings.precision, streams=threads)
    follower = Follower(loader, poll=settings.poll, metrics=metrics)
    service = Service(follower=follower, batcher=batcher, limits=settings.limits, metrics=metrics)
    return api.build(service=service, limits=settings.limits, metrics=metrics, token=token)


def run(settings: Settings) -> int:
    """Serve until SIGTERM, Ctrl-C or SIGHUP; requests in flight are answered first. The exit status."""
    # OpenCV's own guard behind the header check, read by it at the first picture.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(settings.limits.max_pixels))
    # A registry that is down must be noticed within a poll or two; MLflow's own waits add up to minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    _set_up_log()
    connections = _connections(settings.limits.connections)
    with cache.opened(settings.cache) as copies, tempfile.TemporaryDirectory(prefix="gaze-metrics-") as shared:
        os.environ[SETTINGS] = dataclasses.replace(settings, cache=str(copies)).to_json()
        if settings.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        options: dict[str, Any] = dict(
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            http=cast(type[H11Protocol], partial(PatientProtocol, patience=settings.limits.head_seconds)),
            limit_concurrency=connections,
            # As many are taken at one go, before the first of them can be closed again.
            backlog=2048 if connections == settings.limits.connections else max(8, connections // 16),
            ws=WebSocketsSansIOProtocol,
            ws_max_size=settings.limits.frame_bytes,
            ws_max_queue=2,
            timeout_graceful_shutdown=int(settings.limits.answer_seconds),
            access_log=False,  # a line per picture; /metrics counts them
            server_header=False,
            log_config=None,
        )
        return _run_workers(options) if settings.workers > 1 else _run_alone(options)


def _set_up_log() -> None:
    """Lines with time, level and name, in each process; those of other packages where they say what ours do not."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Each attempt to ask a registry that is down; the follower says that once.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def _run_alone(options: dict[str, Any]) -> int:
    """Serve in this process; the exit status."""
    hung_up = False

    def hang_up(number: int, frame: FrameType | None) -> None:
        nonlocal hung_up
        hung_up = True
        end = signal.getsignal(signal.SIGTERM)  # uvicorn's while it serves; it knows nothing of SIGHUP
        if callable(end):
            end(number, frame)

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, hang_up)
    uvicorn.run(APPLICATION, **options)
    return HUNG_UP if hung_up else 0


def _run_workers(options: dict[str, Any]) -> int:
    """Serve in processes that this one watches; the exit status."""
    config = uvicorn.Config(APPLICATION, **options)
    workers = Workers(config, [config.bind_socket()])
    try:
        workers.run()
    except KeyboardInterrupt:  # of a signal that came before uvicorn heeded them
        workers.terminate_all()
        workers.join_all()
        raise
    return HUNG_UP if workers.hung_up else 0


class Workers(Multiprocess):
    """uvicorn's workers, which a closed terminal ends instead of starting them again."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        switched_off = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        super().__init__(config, sockets)
        self.hung_up = False
        self._silent: dict[int | None, float] = {}
        if switched_off:  # by nohup
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def keep_subprocess_alive(self) -> None:
        """Begin workers again that ended, or gave no sign of life for :data:`PATIENCE_S`.

        uvicorn's own waits for that sign, and meanwhile this process heeds neither signals nor what becomes of others.
        """
        for at, worker in enumerate(self.processes):
            if self._is_well(worker):
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                log.error("Child process [%s] failed to start, stopping the parent process.", worker.pid)
                self.should_exit.set()
                return
            log.info("Child process [%s] died", worker.pid)
            self.processes[at] = Process(self.config, self.sockets)
            self.processes[at].start()

    def _is_well(self, worker: Process) -> bool:
        if not worker.process.is_alive():
            return False
        if worker.ping(_SIGN_S):
            self._silent.pop(worker.pid, None)
            return True
        since = self._silent.setdefault(worker.pid, time.monotonic())
        return bool(time.monotonic() - since < PATIENCE_S)

    def handle_hup(self) -> None:
        """End in order, as on SIGTERM."""
        log.info("Received SIGHUP, exiting.")
        self.hung_up = True
        self.should_exit.set()


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP protocol that waits ``patience`` seconds for a request's head, not for ever.

    No connection stays that sends none, sends half of one, or one that opens a WebSocket and cannot be read as that.
    """

    def __init__(self, *arguments: Any, patience: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience = patience
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the clock for the request line and headers; close at once what is far over the limit."""
        super().connection_made(transport)
        # uvicorn refuses requests over the limit, not connections: those that say nothing would take every file.
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency + SPARE:
            transport.close()
            return
        self._clock = self.loop.call_later(self._patience, self._close_if_silent)

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a head is complete; start it again when the next one begins to arrive."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._clock is None:
            self._clock = self.loop.call_later(self._patience, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._stop_clock()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over; a head that cannot be read as a WebSocket's (a body, say) is refused at once."""
        super().handle_websocket_upgrade(event)
        # uvicorn's WebSocket protocol leaves such a connection open without an answer.
        socket = cast(WebSocketsSansIOProtocol, self.transport.get_protocol())
        if not socket.handshake_initiated:
            self.send_400_response("This request cannot open a WebSocket.")

    def _should_upgrade(self) -> bool:
        # Only GET opens a WebSocket (RFC 6455, 4.1); an upgrade may be ignored (RFC 9110, 7.8).
        return self.scope["method"] == "GET" and super()._should_upgrade()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _close_if_silent(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def _connections(wanted: int) -> int:
    """Connections that a process may hold, ``wanted`` or what its open files allow; raises their limit first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + OWN_FILES:
        soft = min(wanted + OWN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = min(wanted, max(soft - OWN_FILES, soft // 4))
    if allowed < wanted:
        log.warning(
            "a process may open only %d files here: at most %d connections at once instead of %d; allow more with "
            "`ulimit -Hn`, systemd's LimitNOFILE, or --ulimit nofile of a container",
            *(soft, allowed, wanted),
        )
    return allowed
