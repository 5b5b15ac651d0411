"""Preparing the drives of a list: each on its own, several at once, a bad one named.

:func:`prepare_one` is all of one drive: it takes and gives values that travel between processes, so that whatever runs
it – a process here, a task elsewhere – decides about nothing else. A preparation that was cut off continues when it is
run again, and one that is complete returns at once.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from recording import files, preparation, prepared, recordings
from recording.badrows import STOP
from recording.drive import Source
from recording.drive_list import Entry
from recording.exceptions import GazeError, InputError
from recording.face import AUTO
from recording.prepared import DRIVE, Samples

log = logging.getLogger("recording.fleet")

SKIP: Literal["skip"] = "skip"
ON_BAD_DRIVE = (STOP, SKIP)
GRACE_S = 5.0


@dataclass(frozen=True)
class Task:
    """Preparing one drive of a list: everything by value, or by an address that any process on the machine can open."""

    entry: Entry
    work: Path
    """Its folder ``prepared`` gets the drive's own."""
    samples: int
    layout: str = "dashgaze"
    """For a drive that names none itself."""
    face: str | None = AUTO
    """For a drive that names none itself; ``None``: none is asked for (:func:`recording.preparation.prepare`)."""
    track: int | None = None
    on_bad_rows: str = STOP
    threads: int | None = None
    """That decode and write; all cores for ``None``."""


@dataclass(frozen=True)
class Outcome:
    """What came of one drive: its samples, or the line that says why there are none."""

    entry: Entry
    samples: Samples | None = None
    error: str = ""


Run = Callable[[Sequence[Task]], Iterator[tuple[int, Outcome]]]
"""Prepares drives, each as :func:`prepare_one` does: (number, outcome) as they come."""


def prepare_one(task: Task) -> Outcome:
    """Prepare one drive, or look at a folder that is prepared already; a bad drive is an outcome, not an error."""
    entry = task.entry
    try:
        samples = prepared.load(entry.data or _prepared(task))
        if entry.data and entry.face:
            samples = replace(samples, chosen=recordings.choice(samples, entry.face))
    except GazeError as error:
        return Outcome(entry, error=" ".join(str(error).split()))
    return Outcome(entry, replace(samples, name=entry.name, driver=entry.driver))


def left_out(samples: Samples) -> dict[str, int]:
    """Reason → rows and frames of a drive that were left out; empty for a bare folder, which does not say."""
    if not (samples.folder / DRIVE).is_file():
        return {}
    about = files.read_json(samples.folder / DRIVE)
    return {**about["labels"]["dropped"], **about["samples"].get("dropped", {})}


def _prepared(task: Task) -> Path:
    entry = task.entry
    assert entry.video is not None and entry.labels is not None  # the list's reader saw to it
    layout, shift = entry.layout or task.layout, entry.label_offset_frames
    source = Source(entry.video, entry.labels, layout, task.track, task.on_bad_rows, shift)
    folder = preparation.place(task.work, source, task.samples)
    return preparation.prepare(source, task.samples, folder, entry.face or task.face, task.threads)


def prepare(
    tasks: Sequence[Task], on_bad_drive: str, processes: int, elsewhere: Run | None = None
) -> tuple[Outcome, ...]:
    """All drives, ``processes`` of them at once, in the list's order; bad ones are left out and counted.

    ``elsewhere``, where it is given, prepares them in place of processes of this machine.
    ``on_bad_drive=stop`` raises :class:`InputError` with the first bad drive's line instead, and so does a list of
    which no drive is left. However this ends, no process of it is left.
    """
    found: dict[int, Outcome] = {}
    for number, outcome in (elsewhere or partial(_here, processes=processes))(tasks):
        found[number] = outcome
        if not outcome.error:
            continue
        line = f"drive {outcome.entry.name!r} (line {outcome.entry.line} of the list): {outcome.error}"
        if on_bad_drive == STOP:
            raise InputError(f"{line}; on_bad_drive=skip goes on without it")
        log.warning("BAD DRIVE, left out: %s", line)
    outcomes = tuple(found[number] for number in range(len(tasks)))
    bad = [outcome for outcome in outcomes if outcome.error]
    if len(bad) == len(outcomes):
        raise InputError(f"none of the {len(bad)} drives of the list can be used; the first: {bad[0].error}")
    if bad:
        names = ", ".join(outcome.entry.name for outcome in bad)
        log.warning("%d of %d drives are left out: %s", len(bad), len(outcomes), names)
    return outcomes


def _here(tasks: Sequence[Task], processes: int) -> Iterator[tuple[int, Outcome]]:
    alone = min(processes, len(tasks)) <= 1
    return enumerate(map(prepare_one, tasks)) if alone else _side_by_side(tasks, processes)


def _side_by_side(tasks: Sequence[Task], processes: int) -> Iterator[tuple[int, Outcome]]:
    """(number, outcome) as they come. A process for each drive: one that dies takes no other along."""
    context = multiprocessing.get_context("spawn")  # a fork server is the trials', with torch in it
    waiting = list(enumerate(tasks))[::-1]
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                number, task = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_answer, args=(task, theirs), name=task.entry.name)
                process.start()
                theirs.close()  # so that its death reads as the end of the pipe
                running[ours] = number, process
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                number, process = running.pop(ready)
                yield number, _heard(ready, process, tasks[number].entry)
    finally:
        for connection, (_, process) in running.items():
            connection.close()
            process.terminate()
        for _, process in running.values():
            process.join(GRACE_S)
            process.kill()
            process.join()


def _heard(connection: Connection, process: BaseProcess, entry: Entry) -> Outcome:
    try:
        outcome: Outcome = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        code = process.exitcode or 0
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return Outcome(entry, error=f"its preparation ended with {ended}; the same command continues it")
    finally:
        connection.close()
    process.join()
    return outcome


def _answer(task: Task, connection: Connection) -> None:
    """Body of a drive's process. Ctrl-C reaches the whole group: whoever started it decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format=f"{task.entry.name}: %(message)s")
    connection.send(prepare_one(task))


def _end_with_starter() -> None:
    starter = multiprocessing.parent_process()
    if starter is not None:
        starter.join()
        os._exit(1)  # what is written so far is whole: it continues
