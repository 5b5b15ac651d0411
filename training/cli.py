"""``python -m training main | prepare | evaluate | curve | pretrain``: the entry points, with their types checked.

The MLproject hands every parameter over as text, so ``samples=abc`` arrives here: types are checked by the
dataclass that the command fills, and one line says what was wrong.

torch and what stands on it take seconds to import: a command that trains imports them when its parameters are right.
``--help``, ``prepare`` and a refused parameter do without.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import optuna
from pydantic import TypeAdapter

from recording import preparation, prepared
from recording.badrows import STOP
from recording.drive import Source
from recording.exceptions import InputError
from recording.face import AUTO
from recording.files import with_home
from registry import outage, project
from training import sqlite, tracking
from training.config import CurveConfig, EvaluateConfig, JobConfig, PretrainConfig

Ready = Callable[[], None]
_PATHS = frozenset({"video", "labels", "base", "data", "layout", "drives", "work", "dataset", "export", "out"})
"""The parameters that are paths; ``data`` may be several, comma-separated."""


class OneLineParser(argparse.ArgumentParser):
    """Errors become one :class:`InputError` line instead of a usage text."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")


def main(argv: list[str] | None = None, ready: Ready = lambda: None) -> int:
    """Run one entry point; returns the exit status.

    ``ready`` is called when everything is imported and nothing has begun: it may raise KeyboardInterrupt.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Advice on schemas and on where a dataset may lie: nothing that the user of a command could heed.
    warnings.filterwarnings("ignore", module=r"mlflow\.(types|data)\.")
    for noisy in ("alembic", "mlflow.store", "matplotlib", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sqlite.be_patient()
    outage.announce()
    try:
        arguments = parser().parse_args(argv)
        return int(arguments.run(arguments, ready))
    except InputError as error:
        project.end_unstarted("FAILED", str(error))
        raise
    except KeyboardInterrupt:
        project.end_unstarted("KILLED", "interrupted")
        raise


def parser() -> argparse.ArgumentParser:
    """The command line of ``python -m training``."""
    top = OneLineParser(prog="python -m training", description="Fine-tune a gaze model on a drive.", allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="main|prepare|evaluate|curve|pretrain")
    main_ = _command(commands, "main", "prepare, search, report and register: the main job")
    _add_fields(main_, JobConfig)
    main_.set_defaults(run=_main)

    prepare = _command(commands, "prepare", "extract labelled frames from a recording into a folder")
    for name, text in (("video", "composite video"), ("labels", "CSV of gaze angles"), ("out", "folder to make")):
        prepare.add_argument(f"--{name}", type=_typed(name, str), required=True, help=text)
    prepare.add_argument("--samples", type=_typed("samples", int), default=500, help="frames to extract (500)")
    prepare.add_argument(
        "--layout",
        type=_typed("layout", str),
        default="dashgaze",
        help="dashgaze, driver, or a YAML/JSON file (dashgaze)",
    )
    prepare.add_argument(
        "--face", default=AUTO, help="face rectangle: auto, none, or x,y,w,h in the driver view (auto)"
    )
    prepare.add_argument("--on_bad_rows", "--on-bad-rows", default=STOP, help=_BAD_ROWS)
    prepare.add_argument(
        "--label_offset_frames",
        "--label-offset-frames",
        type=_typed("label_offset_frames", float),
        default=0.0,
        help="by how many frames the rows of the CSV come too late (0)",
    )
    prepare.add_argument("--label_frame", "--label-frame", default=AUTO, help=_LABEL_FRAME)
    prepare.add_argument("--track", type=_typed("track", int), default=-1, help=_TRACK)
    prepare.set_defaults(run=_prepare)

    evaluate = _command(commands, "evaluate", "errors of a registered model on a drive, with ten scenarios")
    _add_fields(evaluate, EvaluateConfig)
    evaluate.set_defaults(run=_evaluate)

    curve = _command(commands, "curve", "measure what more data would bring: errors at growing sizes, and a forecast")
    _add_fields(curve, CurveConfig)
    curve.set_defaults(run=_curve)

    pretrain = _command(commands, "pretrain", "train a base on MPIIFaceGaze, or the lab base of the sample drive again")
    _add_fields(pretrain, PretrainConfig)
    pretrain.set_defaults(run=_pretrain)
    return top


_TRACK = (
    "which film of a video that holds several, from 0 (-1: the one that the file marks as its default, or the first)"
)
_LABEL_FRAME = "what the angles are relative to: car, head, or auto: looked for in the labels (auto)"
_BAD_ROWS = "when a class of rows of the CSV cannot be read: stop, or drop them (stop)"


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    description = text[0].upper() + text[1:] + "."
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
    return command


def _add_fields(command: argparse.ArgumentParser, config: type) -> None:
    """One option per dataclass field, with its docstring as help."""
    described = {
        name: said["description"]  # by `use_attribute_docstrings` of the class; of each base, which pydantic leaves out
        for part in reversed(config.__mro__)
        if is_dataclass(part)
        for name, said in TypeAdapter(part).json_schema()["properties"].items()
        if "description" in said
    }
    for field in fields(config):
        default = f" ({field.default!r})" if field.default != "" else ""
        command.add_argument(
            *dict.fromkeys((f"--{field.name}", f"--{field.name.replace('_', '-')}")),
            dest=field.name,
            type=_typed(field.name, type(field.default)),
            default=field.default,
            help=(described[field.name] + default).replace("%", "%%"),
        )


def _typed(name: str, wanted: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        if name in _PATHS:
            return ",".join(map(with_home, text.split(",")))
        if wanted is str:
            return text
        try:
            value: int | float = wanted(text)
        except ValueError:
            kind = {"int": "a whole number", "float": "a number"}[wanted.__name__]
            raise InputError(f"{name}={text!r}: must be {kind}") from None
        if value != value or value in (float("inf"), float("-inf")):
            raise InputError(f"{name}={text!r}: must be a finite number")
        return value

    return convert


def _filled(config: type, arguments: argparse.Namespace) -> Any:
    return config(**{field.name: getattr(arguments, field.name) for field in fields(config)})


def _main(arguments: argparse.Namespace, ready: Ready) -> int:
    config = _filled(JobConfig, arguments)
    from training import job

    ready()
    return job.run(config)


def _evaluate(arguments: argparse.Namespace, ready: Ready) -> int:
    config = _filled(EvaluateConfig, arguments)
    from training import evaluation

    ready()
    return evaluation.run(config)


def _curve(arguments: argparse.Namespace, ready: Ready) -> int:
    config = _filled(CurveConfig, arguments)
    from training import curve

    ready()
    return curve.run(config)


def _prepare(arguments: argparse.Namespace, ready: Ready) -> int:
    ready()
    if not project.inside_project():
        print(f"prepared: {_prepared(arguments)}")
        return 0
    with tracking.tracked_run("prepare"):
        folder = _prepared(arguments)
        mlflow.log_artifact(str(folder / prepared.DRIVE))
        print(f"prepared: {folder}")
    return 0


def _prepared(arguments: argparse.Namespace) -> Path:
    source = Source(
        Path(arguments.video),
        Path(arguments.labels),
        arguments.layout,
        track=arguments.track if arguments.track >= 0 else None,
        on_bad_rows=arguments.on_bad_rows,
        label_offset_frames=arguments.label_offset_frames,
        label_frame=arguments.label_frame,
    )
    return preparation.prepare(source, arguments.samples, Path(arguments.out), arguments.face)


def _pretrain(arguments: argparse.Namespace, ready: Ready) -> int:
    config = _filled(PretrainConfig, arguments)
    if config.dataset:
        from training.pretraining import job

        ready()
        return job.run(config)
    from training.sample import pretrain

    ready()
    with tracking.tracked_run("pretrain"):
        pretrain.run(config.images, config.epochs, config.seed, config.out, config.device)
    return 0
