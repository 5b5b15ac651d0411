"""``python -m training``; see training.cli."""

from recording.output import outlive_readers
from registry.command_line import leave
from training.interruption import follow_starter, handler


def main(argv: list[str] | None) -> int:
    """The command line, in a process that ends in order when it is told to, and not because nobody reads it."""
    outlive_readers()
    interruption = handler()
    interruption.install()
    follow_starter()
    from training import cli  # takes seconds: signals are remembered until it is there

    return cli.main(argv, ready=interruption.allow)


if __name__ == "__main__":
    leave(main)
