"""The options of a command line that say which version is wanted."""

import argparse

from recording.files import with_home
from registry.addresses import DEFAULT_MODEL_NAME, Selector


def add_selector(parser: argparse.ArgumentParser) -> None:
    """``--model`` with one of ``--stage``, ``--alias`` and ``--version``, and ``--cache``."""
    parser.add_argument("--model", default=DEFAULT_MODEL_NAME, help="registered model (%(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--stage", default="Production", help="follow this stage (%(default)s)")
    which.add_argument("--alias", default="", help="follow this alias instead")
    which.add_argument("--version", type=int, default=0, help="this version, whatever its stage")
    parser.add_argument(
        "--cache", type=with_home, default="", help="where copies of versions are kept ($XDG_CACHE_HOME/gaze-serving)"
    )


def selector(given: argparse.Namespace) -> Selector:
    """What the options of :func:`add_selector` name."""
    return Selector(given.model, given.stage, given.alias, given.version)
