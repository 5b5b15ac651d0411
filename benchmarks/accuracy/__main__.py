"""The command: see :mod:`benchmarks.accuracy`."""

import argparse
import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy import panel, tables
from benchmarks.accuracy.panel import Drive, Entry
from benchmarks.machine import machine

ROOT = Path(__file__).parents[2]
METHODS = ("main job", "old recipe all layers", "old recipe head", "closed forms")
RELEASE = "main job of the release"
SETTINGS = ("seconds", "samples", "pairwise", "no_bfloat16")  # one file of results has one value of each
UNSEEDED = "closed forms"
RENDER_S = 0.08  # a frame of the panel on one core
CLOSED_FORMS_S = 60.0
BESIDE = 1.3  # what the main job takes beyond its seconds: activations, report


@dataclass(frozen=True)
class Task:
    """One method on one drive with one seed."""

    entry: Entry
    method: str
    seed: int

    @property
    def key(self) -> str:
        """Its place among the results."""
        return f"{self.entry.name}: {self.method}" + (f", seed {self.seed}" if self.method != UNSEEDED else "")


def main() -> None:
    given = _arguments()
    work = Path(given.work)
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "accuracy.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    settings = {name: getattr(given, name) for name in SETTINGS}
    if results.setdefault("settings", settings) != settings:
        sys.exit(f"{kept} was measured with {results['settings']}, not {settings}: choose another --work")
    chosen = _entries(given)
    tasks = {entry.name: _tasks(entry, given) for entry in chosen}
    missing = [task for found in tasks.values() for task in found if task.key not in results]
    print(f"machine: {machine()}{', bfloat16 off' if given.no_bfloat16 else ''}")
    print(f"{len(chosen)} drives, {len(missing)} runs to do: about {_minutes(missing, given, work):.0f} min\n")
    for entry in chosen:
        todo = [task for task in tasks[entry.name] if task.key not in results]
        if todo:
            drive = entry.make(work)
            for task, result in _run(todo, drive, given, work):
                results[task.key] = result
                kept.write_text(json.dumps(results, indent=1))
        print(tables.of_a_drive(entry.name, *_figures(tasks[entry.name], results)), flush=True)
    for part in (panel.CHOICE, panel.CONFIRMATION):
        for kind, ours in (("rendered drives", True), ("real faces", False)):
            group = [entry for entry in chosen if entry.part == part and bool(entry.frames) == ours]
            if group:
                found = {entry.name: _figures(tasks[entry.name], results)[0] for entry in group}
                print(tables.over_drives(f"{kind}, {part}", found), flush=True)


def _entries(given: argparse.Namespace) -> list[Entry]:
    names = tuple(panel.RECIPES) if given.drives == "all" else tuple(filter(None, given.drives.split(",")))
    people, left_out = _numbers(given.people), _numbers(given.left_out)
    found = panel.entries(names, people, left_out, Path(given.faces), given.samples)
    return [entry for entry in found if given.part in ("both", entry.part)]


def _tasks(entry: Entry, given: argparse.Namespace) -> list[Task]:
    methods = [*filter(None, given.methods.split(",")), *([RELEASE] if given.release else [])]
    return [
        Task(entry, method, seed)
        for seed in _numbers(given.seeds)
        for method in methods
        if method != UNSEEDED or seed == _numbers(given.seeds)[0]
    ]


def _minutes(missing: list[Task], given: argparse.Namespace, work: Path) -> float:
    """How long the missing runs take, rendering included."""
    lanes = 2 if given.pairwise else 1
    seconds = sum(
        CLOSED_FORMS_S if task.method == UNSEEDED else given.seconds * (BESIDE if "main job" in task.method else 1.0)
        for task in missing
    )
    needed = {task.entry.name: task.entry.frames for task in missing if task.entry.frames}
    there = len(list((work / "drives").glob("sample-drive-*")))
    frames = sum(needed.values()) * max(0.0, 1 - there / max(1, len(needed)))
    return (seconds / lanes + frames * RENDER_S / (os.cpu_count() or 1)) / 60


def _run(tasks: list[Task], drive: Drive, given: argparse.Namespace, work: Path) -> Iterator[tuple[Task, Any]]:
    """The results of these tasks, as they come: one after the other, or two at a time on one core each."""
    cores: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for core in sorted(os.sched_getaffinity(0))[:2] if given.pairwise else [None]:
        cores.put(core)
    with ThreadPoolExecutor(cores.qsize()) as pool:
        running = {pool.submit(_one, drive, given, work, cores, task): task for task in tasks}
        for done in as_completed(running):
            yield running[done], done.result()


def _one(
    drive: Drive, given: argparse.Namespace, work: Path, cores: "queue.SimpleQueue[int | None]", task: Task
) -> Any:
    core = cores.get()
    place = work / "running" / ("both" if core is None else str(core))
    place.mkdir(parents=True, exist_ok=True)
    out = place / "result.json"
    code = Path(given.release) if task.method == RELEASE else ROOT
    command = [sys.executable, "-m", "benchmarks.accuracy.methods", task.method, "--drive", drive.name]
    command += ["--folders", *map(str, drive.folders), "--split", drive.split, "--out", str(out), "--code", str(code)]
    command += ["--seconds", str(given.seconds), "--seed", str(task.seed)]
    command += [] if core is None else ["--core", str(core)]
    env = os.environ | ({} if core is None else {"OMP_NUM_THREADS": "1"})
    env |= {"GAZE_BFLOAT16": "off"} if given.no_bfloat16 else {}
    try:
        subprocess.run(command, env=env | {"PYTHONPATH": str(ROOT)}, check=True)
        return json.loads(out.read_text())
    finally:
        cores.put(core)


def _figures(tasks: list[Task], results: dict[str, Any]) -> tuple[dict[str, tables.Errors], dict[str, float]]:
    """Errors by method, means over the seeds, with the best of each family; seconds by method."""
    runs = [results[task.key] for task in tasks]
    errors = tables.averaged(run["figures"] for run in runs)
    seconds = {method: run["seconds"] for run in runs for method in run["figures"]}
    return tables.with_best(errors), seconds


def _numbers(text: str) -> list[int]:
    """``1-3,7`` → 1, 2, 3, 7."""
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Errors of the main job beside what it has to beat.")
    parser.add_argument("--drives", default="", help=f"all, or some of {', '.join(panel.RECIPES)}")
    parser.add_argument("--faces", default="../shared/real_faces", help="folder of the real photographs")
    parser.add_argument("--people", default="", help="which people of them: 1-5 or 1,3")
    parser.add_argument("--left-out", default="", help="which people are tested on while others train")
    parts = (panel.CHOICE, panel.CONFIRMATION, "both")
    parser.add_argument("--part", default="both", choices=parts, help="which part of the panel (both)")
    parser.add_argument("--seeds", default="0", help="of what is random: 0-2 for three (0)")
    parser.add_argument(
        "--samples",
        type=int,
        default=500,
        help="samples of a rendered drive, or of the others of a person who is left out (500)",
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="of each method (300)")
    parser.add_argument("--pairwise", action="store_true", help="two methods at a time, on one core each")
    parser.add_argument("--no-bfloat16", action="store_true", help="float32 even where bfloat16 is faster")
    parser.add_argument("--release", default="", help="checkout of another commit whose main job runs too")
    parser.add_argument("--work", default="data/accuracy", help="where drives and results go (data/accuracy)")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"some of {', '.join(METHODS)}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
