"""Whether recordings of a training show the same moments: one part of the split, or one driver, would hold another's
answers."""

from itertools import combinations

import numpy as np

from recording.exceptions import InputError
from recording.recordings import Recordings
from registry import lineage
from training.measuring.splits import Split


def check(data: Recordings, split: Split) -> None:
    """:class:`InputError` when a recording, or a copy of it in another file, is in two parts of the split.

    Where whole drivers are held out, also when it is two drivers': each is left out in turn. Of several drives only:
    within one the split keeps near copies apart itself.
    """
    kind = "driver" if split.name == "by-driver" else "part"
    everything = np.arange(len(data))
    for first, second in combinations(range(len(data.drives)), 2):
        one, other = _part(data, split, first), _part(data, split, second)
        if one == other:
            continue
        shared = lineage.near_copies(lineage.of(data, everything, second), lineage.of(data, everything, first))
        if shared.any():
            raise InputError(
                f"data: {data.drives[first].folder} ({one}) and {data.drives[second].folder} ({other}) show the same "
                f"recording: {shared.sum()} of {len(shared)} samples of the second are within a second of samples of "
                f"the first; give each recording once, or copies of it for the same {kind}"
            )


def _part(data: Recordings, split: Split, drive: int) -> str:
    """The part of the split that a drive is in, or its driver."""
    if split.name == "by-driver":
        return f"driver {data.drives[drive].driver or data.drives[drive].name}"
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return next(name for name, samples in parts.items() if (data.drive_index[samples] == drive).any())
