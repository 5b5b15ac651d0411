"""Commands of the registry: ``python -m registry COMMAND --help``."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from recording.exceptions import GateRefused, InputError, RegistryError
from recording.files import check_ending, check_folder, given_path
from registry import addresses, baseline_errors, card, comparison, figures, gate, history, opening, stages, versions
from registry.history import Line
from registry.rule import BASELINES
from registry.state import State, drifts
from registry.versions import Version

_PROG = "python -m registry"

Run = Callable[[argparse.Namespace], None]


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status. What a user can mend is raised as a ``GazeError``."""
    arguments = _parser().parse_args(argv)
    arguments.run(arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROG, description="Versions of a gaze model, their stages and history.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.add_argument("--model-name", default=addresses.DEFAULT_MODEL_NAME, help="default: %(default)s")
        added.set_defaults(run=run)
        return added

    def of_version(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        added = command(name, run, text)
        added.add_argument("version", metavar="N", help="version number")
        return added

    def with_why(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--why", default="", help="reason, kept in the history")
        return added

    def change_of(name: str, run: Run, text: str) -> None:
        with_why(command(name, run, text)).add_argument("--version", required=True, help="version number")

    command("list", _list, "the versions, their stages and their errors beside the best calibration")
    of_version("show", _show, "one version: stage, aliases, run, digests, files, tags")
    of_version("card", _card, "the model card of a version")
    of_version("verify", _verify, "fetch a version and check its contract, files and golden answers")
    compared = command("compare", _compare, "two versions on the same held-out samples, with a figure")
    compared.add_argument("first", metavar="A")
    compared.add_argument("second", metavar="B")
    compared.add_argument(
        "--figure", type=given_path, help=f"default: outputs/compare-vA-vB.png; ends in {', '.join(comparison.FIGURES)}"
    )
    promoted = with_why(command("promote", _promote, "put a version into a stage, if the gate lets it pass"))
    promoted.add_argument("--version", required=True, help="version number")
    promoted.add_argument("--stage", default="Production", help="Staging or Production (default)")
    promoted.add_argument("--dry-run", action="store_true", help="only ask the gate")
    promoted.add_argument("--force", action="store_true", help="overrule the gate; needs --why")
    promoted.add_argument("--gate", type=given_path, help="limits that replace those of registry/gate.yaml")
    rolled = with_why(command("rollback", _rollback, "put the version back that held the stage before"))
    rolled.add_argument("--version", help="another version to go back to")
    rolled.add_argument("--stage", default="Production", help="Staging or Production (default)")
    change_of("demote", _demote, "take a version out of its stage")
    change_of("archive", _archive, "move a version to Archived")
    change_of("delete", _delete, "delete a version that is in no stage")
    command("history", _history, "who moved which version where, when and why")
    synced = command("sync", _sync, "finish what was interrupted and take over what was changed in MLflow itself")
    synced.add_argument("--dry-run", action="store_true", help="only show what would be done")
    return parser


def _list(arguments: argparse.Namespace) -> None:
    found = [figures.stated(version) for version in versions.every(arguments.model_name)]
    if not found:
        print(f"{arguments.model_name} has no version; train and register one with `mlflow run .`")
        return
    rows = [
        [
            f"{version.number}",
            version.stage,
            ",".join(version.aliases) or "-",
            f"{version.created:%Y-%m-%d %H:%M}",
            _pair(version, ""),
            _calibration(version),
            _marks(version) or "-",
            version.run_id or "-",
        ]
        for version in found
    ]
    heads = ["version", "stage", "aliases", "created (UTC)", "az / el error", "calibration", "marks", "run"]
    print(_table(heads, rows))
    _warn(arguments.model_name)


def _pair(version: Version, prefix: str) -> str:
    azimuth = version.error(f"{prefix}azimuth_error_deg")
    elevation = version.error(f"{prefix}elevation_error_deg")
    return "-" if azimuth is None or elevation is None else f"{azimuth:.2f}° / {elevation:.2f}°"


def _calibration(version: Version) -> str:
    """The errors of the best calibration and which one it is: ``4.29° / 2.58° (affine)``."""
    best = version.best_calibration
    found = _pair(version, f"{best}_")
    return found if found == "-" else f"{found} ({BASELINES.get(best, best).removesuffix(' calibration')})"


def _marks(version: Version) -> str:
    marks = {"rendered_sample_drive": "rendered sample drive", "leaking": "LEAKING split"}
    marks[versions.TWIN_TAG] = "trained on all samples, errors of its twin"
    return ", ".join(text for tag, text in marks.items() if version.tags.get(tag) == "true")


def _warn(model_name: str) -> None:
    """Say on stderr what is not as the history says."""
    for drift in drifts(State.read(model_name)):
        print(f"warning: {drift.text}; run `{_PROG} sync {addresses.model_option(model_name)}`", file=sys.stderr)


def _show(arguments: argparse.Namespace) -> None:
    version = versions.get(arguments.model_name, arguments.version)
    rows = {
        "version": f"{version.model_name} {version.number}",
        "stage": version.stage,
        "aliases": ", ".join(version.aliases) or "-",
        "created": f"{version.created:%Y-%m-%d %H:%M:%S} UTC",
        "run": version.run_id or "-",
        "files": version.source,
    }
    rows |= dict(sorted(version.tags.items()))
    width = max(map(len, rows))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()))


def _card(arguments: argparse.Namespace) -> None:
    version = versions.get(arguments.model_name, arguments.version)
    if version.description:
        print(version.description)
        return
    with tempfile.TemporaryDirectory() as scratch:
        package = opening.fetch(version.model_name, version.number, version.seal, Path(scratch))
        print(card.write(package.contract, baselines=baseline_errors.of(package)))


def _verify(arguments: argparse.Namespace) -> None:
    found = versions.get(arguments.model_name, arguments.version)
    sealed = opening.verify(arguments.model_name, found.number)
    print(
        f"{arguments.model_name} version {found.number} keeps its contract: {len(sealed.files)} files as registered on "
        f"{sealed.created:%Y-%m-%d}, {len(sealed.golden)} golden pictures answered as then"
    )
    if not found.seal:
        print(
            f"it has no registered seal (tag {versions.SEAL_TAG}) to compare with: that another whole package was put "
            "in its place could not be told"
        )


def _compare(arguments: argparse.Namespace) -> None:
    name, figure = arguments.model_name, arguments.figure
    if figure:
        if not figure.suffix:
            figure = figure.with_name(f"{figure.name}.png")
        check_ending(f"--figure {figure}", figure, comparison.FIGURES)
    pair = [versions.get(name, number) for number in (arguments.first, arguments.second)]
    if pair[0].number == pair[1].number:
        raise InputError(
            f"compare {arguments.first} {arguments.second}: both are version {pair[0].number} of {name}; give two "
            f"versions (`{_PROG} list {addresses.model_option(name)}`)"
        )
    figure = figure or Path("outputs") / f"compare-v{pair[0].number}-v{pair[1].number}.png"
    check_folder(f"--figure {figure}", figure)
    with tempfile.TemporaryDirectory() as scratch:
        first, second = (comparison.open_package(version, Path(scratch)) for version in pair)
        parts = [comparison.compare(first, second, samples) for samples in comparison.both_holdouts(first, second)]
    compared = comparison.joined(parts)
    if said := comparison.doubt(first, second):
        print(said)
    if not len(compared):
        raise RegistryError(
            f"{name} {first.label} and {second.label} cannot be compared: every held-out sample of one "
            "is, or lies within a second of, a frame that the other was trained on"
        )
    comparison.draw(compared, figure)
    _print_comparison(compared)
    print(f"figure: {figure}")


def _print_comparison(compared: comparison.Comparison) -> None:
    print(
        f"{len(compared)} held-out samples that neither was trained on{compared.describe_left_out()}: {compared.used}"
    )
    a, b = compared.first_deg.mean(axis=0), compared.second_deg.mean(axis=0)
    changes = zip(("azimuth", "elevation", "3-D angle"), a, b, compared.difference(), strict=True)
    rows = [[angle, f"{x:.2f}°", f"{y:.2f}°", change.describe(), change.answer] for angle, x, y, change in changes]
    change = f"{compared.second} - {compared.first} [95 % interval]"
    print(_table(["mean error", compared.first, compared.second, change, f"{compared.second} is"], rows))
    if said := compared.describe_weights():
        print(said)
    rows = [
        [f"{number}", f"{samples}", f"{first:.2f}°", f"{second:.2f}°", f"{second - first:+z.2f}°"]
        for number, samples, first, second in compared.by_scenario()
    ]
    print(_table(["scenario", "samples", compared.first, compared.second, "change in 3-D angle"], rows))


def _promote(arguments: argparse.Namespace) -> None:
    stage = addresses.parse_stage(arguments.stage)
    try:
        change = stages.promote(
            arguments.model_name,
            arguments.version,
            stage,
            why=arguments.why,
            force=arguments.force,
            dry_run=arguments.dry_run,
            limits=gate.configure(arguments.gate),
        )
    except GateRefused as refusal:
        if isinstance(refusal.outcome, gate.Decision):
            _print_gate(refusal.outcome)
        raise
    _print_gate(change.outcome)
    if not arguments.dry_run:
        number = versions.parse_number(arguments.version)
        _print_change(change, f"{arguments.model_name} version {number} is in {stage} already")
    elif change.outcome is None:
        print(f"dry run: {stage} has no gate; the contract holds")
    else:
        print(f"dry run: the gate would {'let it pass' if change.outcome.passed else 'refuse'}; nothing was changed")


def _print_gate(outcome: gate.Decision | None) -> None:
    if outcome is None:
        return
    champion = f"champion v{outcome.champion}" if outcome.champion else "no champion"
    print(f"gate: challenger v{outcome.challenger}, {champion}")
    rows = [["pass" if check.passed else "FAIL", check.name, check.found, check.limit] for check in outcome.checks]
    print(_table(["", "check", "found", "allowed"], rows))


def _rollback(arguments: argparse.Namespace) -> None:
    stage = addresses.parse_stage(arguments.stage)
    change = stages.rollback(arguments.model_name, stage, number=arguments.version, why=arguments.why)
    _print_change(change, f"{stage} of {arguments.model_name} is there already")


def _demote(arguments: argparse.Namespace) -> None:
    change = stages.demote(arguments.model_name, arguments.version, why=arguments.why)
    _print_change(change, f"{arguments.model_name} version {arguments.version} is in no stage")


def _archive(arguments: argparse.Namespace) -> None:
    change = stages.archive(arguments.model_name, arguments.version, why=arguments.why)
    _print_change(change, f"{arguments.model_name} version {arguments.version} is archived already")


def _delete(arguments: argparse.Namespace) -> None:
    _print_change(stages.delete(arguments.model_name, arguments.version, why=arguments.why), "")


def _print_change(change: stages.Change, nothing_to_do: str) -> None:
    for text in change.repaired:
        print(f"repaired: {text}")
    if change.line is None:
        print(f"{nothing_to_do}; nothing to do")
        return
    line = change.line
    place = f"{line.stage}: {_move(line)}" if line.stage else f"version {line.version}: {_move(line)}"
    print(f"{line.action}{' (forced)' * line.forced}: {place}")


def _move(line: Line) -> str:
    """``v3 → v1`` in a stage, or ``None → Archived`` of a version."""
    if line.stage is None:
        return f"{line.from_stage} → {line.to_stage}"
    return " → ".join(f"v{number}" if number else "nothing" for number in (line.before, line.after))


def _history(arguments: argparse.Namespace) -> None:
    state = State.read(arguments.model_name)
    if not state.lines:
        print(f"{arguments.model_name} has no history yet")
    else:
        rows = [_history_row(line) for line in state.lines]
        print(_table(["#", "time (UTC)", "action", "version", "stage", "from → to", "outcome", "who", "why"], rows))
    for drift in drifts(state):
        print(
            f"not in the history: {drift.text}; "
            f"`{_PROG} sync {addresses.model_option(arguments.model_name)}` takes it over"
        )


def _history_row(line: Line) -> list[str]:
    marks = " (forced)" * line.forced
    return [
        f"{line.number}",
        line.time.replace("T", " ").rstrip("Z"),
        line.action + marks,
        f"{line.version}",
        line.stage or line.to_stage,
        _move(line),
        line.outcome or "under way or interrupted",
        line.who,
        "; ".join(filter(None, [line.why, line.gate_said])) or "-",
    ]


def _sync(arguments: argparse.Namespace) -> None:
    repaired, found = stages.sync(arguments.model_name, dry_run=arguments.dry_run)
    for text in repaired:
        print(f"repaired: {text}")
    for drift in found:
        held = f"version {drift.line.after}" if drift.line.after else "no version"
        verb = "would make" if arguments.dry_run else "made"
        print(f"{drift.text}: {verb} {drift.line.stage} hold {held}, alias with it")
    if not repaired and not found:
        interrupted = [line for line in history.read(arguments.model_name) if line.outcome is None]
        print(f"{len(interrupted)} change(s) under way or interrupted" if interrupted else "all as the history says")


def _table(heads: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
