"""The one exception tree of the project.

Whatever a user can cause is a :class:`GazeError`: one line that names the thing, what is wrong with it and
what to do. Command lines print that line and leave with status 2; anything else is a bug and keeps its
traceback.
"""


class GazeError(Exception):
    """Something the user can mend; its text is one line."""


class InputError(GazeError):
    """A file, folder or parameter is missing, unreadable or out of range."""


class DriveError(InputError):
    """A recording (video, labels or their pairing) cannot be used."""


class CheckpointError(InputError):
    """A checkpoint is not a state_dict of the gaze network."""


class RegistryError(GazeError):
    """The registry cannot be reached or does not hold what was asked for."""


class NoSuchVersion(RegistryError):
    """No version has that number, or none is in that stage."""


class NoRegistry(NoSuchVersion):
    """The registry is a database file that is not there, or empty."""


class ContractError(RegistryError):
    """A version breaks its contract: unknown contract version, a file missing or changed, answers that differ."""


class GateRefused(RegistryError):
    """The promotion gate said no; ``outcome`` is its ``gate.Decision``, every check of it."""

    def __init__(self, text: str, outcome: object) -> None:
        super().__init__(text)
        self.outcome = outcome
