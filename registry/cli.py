"""Commands of the registry: ``python -m registry list | promote …``."""

import argparse

from registry import stages, versions


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m registry", description="Versions of a gaze model and their stages."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the versions, their stages and errors")
    listing.set_defaults(run=_list)
    promote = commands.add_parser("promote", help="put a version into a stage")
    promote.add_argument("--version", required=True)
    promote.add_argument("--stage", default="Production")
    promote.set_defaults(run=_promote)
    for command in commands.choices.values():
        command.add_argument("--model-name", default=versions.DEFAULT_MODEL_NAME)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    for version in versions.every(arguments.model_name):
        print(version.number, version.stage, ",".join(version.aliases), version.error("angular_error_deg"))
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    number = versions.parse_number(arguments.version)
    stages.promote(arguments.model_name, number, arguments.stage)
    print(f"{arguments.model_name} version {number} is in {stages.parse_stage(arguments.stage)}")
    return 0
