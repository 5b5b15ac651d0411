"""``python -m training``; see training.cli."""

from functools import partial

from registry.interruption import Interruption
from training.interruption import handler


def main(interruption: Interruption, argv: list[str] | None) -> int:
    """The command line, in a process that ends in order when it is told to, and not because nobody reads it."""
    from recording import garbage
    from recording.output import outlive_readers
    from registry.project import follow_starter

    outlive_readers()
    follow_starter()
    garbage.rest()
    from training import cli  # takes seconds: signals are remembered until it is there

    def ready() -> None:
        garbage.resume()
        interruption.allow()

    return cli.main(argv, ready=ready)


if __name__ == "__main__":
    interruption = handler()
    interruption.install()  # before anything else is imported: what a signal ends from here on, it ends in order
    from registry.command_line import leave

    leave(partial(main, interruption), early=interruption)
