"""How long a trial may take, and what is expected of one that the time cut off."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TimeLeft:
    """A trial's time, on ``time.monotonic``'s clock."""

    deadline: float = math.inf
    """When it ends, and what it found is trained on."""
    latest: float = math.inf
    """When it ends as long as nothing is to be expected of it that is better than ``to_beat``."""
    to_beat: float | None = None
    """Error in degrees of something whose final training takes next to nothing, so that the time kept for that is
    better spent here; ``None``: there is no such thing, and ``deadline`` holds."""

    def until(self, error_deg: float) -> float:
        """When the trial ends that is expected to come to this error."""
        return self.deadline if self.to_beat is None or error_deg < self.to_beat else self.latest


UNLIMITED = TimeLeft()


def foreseen(error_deg: float, before_deg: float | None, epoch: int) -> float:
    """What is expected of a trial that was cut off at its best ``epoch``, from that epoch's error and the one
    ``before_deg`` it, degrees: a step half as large as the last one is taken off, since training goes on with it.
    Of a first step nothing can be said."""
    if epoch < 2 or before_deg is None:
        return error_deg
    return error_deg - max(0.0, before_deg - error_deg) / 2
