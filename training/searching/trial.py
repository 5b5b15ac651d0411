"""One trial in a process of its own: everything it needs comes by value or by address.

The process opens its own child run in MLflow, reports every epoch to whoever started it and asks whether to go
on. It can be killed at any moment: the search notices, ends the child run as FAILED and goes on with the next.
"""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import mlflow
import numpy as np
import safetensors.torch
import torch
from mlflow.exceptions import MlflowException
from threadpoolctl import threadpool_limits

from recording import files, recordings
from recording.face import Face
from recording.output import outlive_readers, print_in_any_encoding
from registry import outage
from registry.command_line import one_line, tracking_problem
from registry.interruption import WhenFree, ask_once
from training import sqlite
from training.learning import closed_form, model, progress
from training.learning.cache import ActivationCache
from training.learning.finetune import Epoch, Examples, Outcome, TrialConfig, finetune
from training.learning.memory import OutOfMemory
from training.learning.time_left import TimeLeft
from training.learning.trunk import dataset, features, fill

MAXRSS_UNITS = 2**20 if sys.platform == "darwin" else 2**10  # in a MiB
KEEP_S = 10.0
"""Between two states of a trial that are kept, at least: so much, or an epoch, is what being cut off costs."""


@dataclass(frozen=True)
class TrialSpec:
    """All of a trial: addresses of data and base, indices of its samples, where it reports."""

    number: int
    config: TrialConfig
    base: Path
    """The base in safetensors, with the statistics of ``config.bn`` and the head aligned to the labels."""
    together: tuple[str, ...]
    """Boundaries whose activations are made in one pass when the first of them is wanted."""
    samples: tuple[Path, ...]
    """Prepared folders."""
    faces: tuple[Face | None, ...]
    """The face rectangle of each, ``None`` for the whole driver view."""
    train: np.ndarray
    validation: np.ndarray
    block: np.ndarray
    """(n,) time block (or driver) of every sample: heads in closed form are cross-validated over them."""
    cache: Path
    checkpoint: Path
    """Where the best epoch's weights go (safetensors, whole network), the head as trained: the final training goes on
    from them."""
    device: str
    tracking_uri: str
    experiment_id: str
    parent_run_id: str
    study: str
    seconds_left: float = float("inf")
    seconds_at_most: float = float("inf")
    """What it may take as long as it is not expected to beat ``to_beat`` degrees, where there is such a thing."""
    to_beat: float | None = None
    threads: int = 0
    """Of the processor; 0: as many as torch takes by itself."""
    state: Path | None = None
    """Where it leaves after its epochs what it takes to go on from there; what it finds there, it goes on from."""
    accelerator: str = ""
    """The only CUDA device that it is to see, as ``CUDA_VISIBLE_DEVICES`` names it; empty: whatever there is."""
    share: np.ndarray | None = None
    """(n_train,) how often each training sample is drawn; ``None``: all alike."""

    @property
    def name(self) -> str:
        return f"trial-{self.number:03d}"


@dataclass(frozen=True)
class TrialResult:
    """What a trial found: ``value`` is the validation 3-D angular error of its best epoch, degrees."""

    value: float
    best: Epoch
    ended: str
    epochs: int
    batch_size: int
    seconds: float
    cache_seconds: float
    """Of these, spent on filling (or checking) the activation cache."""
    sample_seconds: float
    """What training took for a sample."""


class Interrupted(BaseException):
    """The search went away or told the trial to end."""


def run(spec: TrialSpec, connection: Connection) -> None:
    """Body of the trial's process. Messages sent: ``("run", id)``, ``("epoch", Epoch)`` – each answered with a
    bool: go on? – and last ``("done", TrialResult)``, ``("failed", line)``, or ``("untracked", line)`` when MLflow
    does not take what the trial says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the search decides
    interrupt = WhenFree(Interrupted)
    signal.signal(signal.SIGTERM, lambda _, frame: _told_to_end(interrupt, frame))
    # Kept back until the child run is there and known: it could not be ended.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=end_with_the_search, name="search", daemon=True).start()
    os.environ.pop("MLFLOW_RUN_ID", None)  # would resume the parent's run
    sqlite.be_patient()
    outage.announce()
    print_in_any_encoding()
    outlive_readers()
    keep_to_share(spec.threads, spec.accelerator)
    try:
        _run(spec, connection)
    except MlflowException as error:
        connection.send(("untracked", tracking_problem(error)))


def _told_to_end(interrupt: WhenFree, frame: FrameType | None) -> None:
    ask_once()
    interrupt(frame)


def keep_to_share(threads: int, accelerator: str) -> None:
    """Leave the others their threads and accelerators; 0 and "" leave this process all."""
    if accelerator:
        os.environ["CUDA_VISIBLE_DEVICES"] = accelerator  # read when CUDA is used first, which it was not here
    if threads:
        torch.set_num_threads(threads)
        threadpool_limits(threads)


def end_with_the_search() -> None:
    """A search that is killed cannot tell its trial to end: notice that it is gone, in the middle of an epoch too."""
    search = multiprocessing.parent_process()
    if search is not None:
        search.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _run(spec: TrialSpec, connection: Connection) -> None:
    mlflow.set_tracking_uri(spec.tracking_uri)
    tags = {"study": spec.study, "trial": str(spec.number)}
    child = mlflow.start_run(
        run_name=spec.name,
        experiment_id=spec.experiment_id,
        nested=True,
        parent_run_id=spec.parent_run_id,
        tags=tags,
    )
    try:
        connection.send(("run", child.info.run_id))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        mlflow.log_params(asdict(spec.config))
        result = _tracked(spec, connection)
    except (Interrupted, BrokenPipeError, ConnectionResetError):  # told to end, or nobody listens any more
        with suppress(MlflowException):  # nobody listens: the search ends the run, or whoever resumes the study
            mlflow.set_tag("ended", "interrupted")
            mlflow.end_run("KILLED")
    except MlflowException:
        raise
    except Exception as error:  # one failed trial must not end the search: reported, tagged, and the next one runs
        line = f"{type(error).__name__}: {one_line(error)}"
        mlflow.set_tags({"ended": "failed", "error": line[:4000]})
        mlflow.end_run("FAILED")
        connection.send(("failed", line))
    else:
        mlflow.end_run("FINISHED")
        connection.send(("done", result))


def _tracked(spec: TrialSpec, connection: Connection) -> TrialResult:
    def keep_going(epoch: Epoch) -> bool:
        mlflow.log_metrics(epoch.metrics() | {"epoch_seconds": epoch.seconds}, step=epoch.number)
        try:
            connection.send(("epoch", epoch))
            return bool(connection.recv())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise Interrupted from None

    began = time.monotonic()
    outcome, batch_size, cache_seconds = train(spec, keep_going)
    result = TrialResult(
        outcome.best.angular_error_deg,
        outcome.best,
        outcome.ended,
        outcome.epochs[-1].number,
        batch_size,
        time.monotonic() - began,
        cache_seconds,
        outcome.sample_seconds,
    )
    # The best epoch's figures, not the last one's, are what the runs table compares.
    mlflow.log_metrics(
        {f"best/{name.split('/')[1]}": value for name, value in outcome.best.metrics().items()}
        | {"best/epoch": outcome.best.number, "seconds": result.seconds, "cache_seconds": cache_seconds}
        | {"peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MAXRSS_UNITS}
    )
    mlflow.set_tags({"ended": outcome.ended} | ({"pruned": "true"} if outcome.ended == "pruned" else {}))
    if batch_size != spec.config.batch_size:
        mlflow.set_tag("batch_size_used", batch_size)
    return result


def train(spec: TrialSpec, keep_going: Callable[[Epoch], bool] = lambda epoch: True) -> tuple[Outcome, int, float]:
    """Fine-tune as ``spec`` says and write the checkpoint.

    Returns the outcome, the batch size that fitted and the seconds that the activation cache took.

    Out of memory halves the batch and starts the trial again, down to a batch of one.
    """
    now = time.monotonic()
    time_left = TimeLeft(now + spec.seconds_left, now + spec.seconds_at_most, spec.to_beat)
    config, begun = spec.config, progress.load(spec.state) if spec.state else None
    if begun is not None:
        config = replace(config, batch_size=begun["batch_size"])
        print(f"{spec.name}: goes on after epoch {len(begun['epochs']) - 1}, where it was cut off", flush=True)
    while True:
        try:
            outcome, cache_seconds = _train(spec, config, keep_going, time_left, begun)
            return outcome, config.batch_size, cache_seconds
        except OutOfMemory as error:
            if config.batch_size == 1:
                raise
            print(
                f"{spec.name}: out of memory with batches of {config.batch_size} ({error}); "
                f"again with {config.batch_size // 2}",
                flush=True,
            )
            config, begun = replace(config, batch_size=config.batch_size // 2), None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _train(
    spec: TrialSpec,
    config: TrialConfig,
    keep_going: Callable[[Epoch], bool],
    time_left: TimeLeft,
    begun: progress.State | None,
) -> tuple[Outcome, float]:
    data = recordings.load(spec.samples).cut_to(spec.faces)
    device = torch.device(spec.device)
    cache = ActivationCache(spec.cache)
    try:
        began = time.monotonic()
        network = model.load(spec.base)
        samples = dataset(data, cache, spec.train, spec.validation, config.seed)
        if config.head != "base":
            pooled = features(network, "backbone", samples, cache, device)
            closed_form.install(config.head, network, pooled, data.targets, spec.train, spec.block, spec.share)
        if config.freeze in spec.together:
            fill(network, spec.together, samples, cache, device)
        source = features(network, config.freeze, samples, cache, device)
        source.keep_on_device()
        cache_seconds = time.monotonic() - began
        _, tail = model.cut(network, config.freeze)
        outcome = finetune(
            tail,
            Examples(source, data.targets, spec.train, spec.block, spec.validation, spec.share),
            config,
            keep_going=keep_going,
            time_left=time_left,
            begun=begun,
            keep=partial(_keep, spec, config, [time.monotonic()]),
        )
        tail.load_state_dict(outcome.trained)  # shares its modules with the network
        _save(network, spec.checkpoint)
        return outcome, cache_seconds
    finally:
        cache.close()


def _keep(spec: TrialSpec, config: TrialConfig, last: list[float], state: progress.State) -> None:
    """Leave the state where the next process finds it; ``last`` is when that was done last.

    Of an open network it is 200 MB: where epochs take a second, not after each.
    """
    if spec.state and time.monotonic() - last[0] >= KEEP_S:
        progress.save(spec.state, state | {"batch_size": config.batch_size})
        last[0] = time.monotonic()


def _save(network: torch.nn.Module, path: Path) -> None:
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    files.write(path, lambda unfinished: safetensors.torch.save_file(state, unfinished))
