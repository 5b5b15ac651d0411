"""``python -m training``; see training.cli."""

from registry.command_line import leave

if __name__ == "__main__":
    from training.cli import main

    leave(main)
