"""``python -m registry``: see :mod:`registry.cli`."""

from registry.cli import main
from registry.command_line import leave

leave(main)
