"""When a trial is ended early: behind the best one, by the median, or with the best one out of reach.

Epochs of different trials can be compared because the learning rate does not depend on a trial's number of epochs
(:mod:`training.learning.finetune`). A high learning rate looks bad early and good late, so the early rules are loose.
"""

from statistics import median

import optuna
from optuna.trial import FrozenTrial, TrialState

PRUNE_AFTER_EPOCHS = 3
# How far behind the best trial at the same epoch a trial may be, from that epoch on; in the first two epochs, warm-up
# included, a trial may be as bad as it likes. Late in a trial "as good as the
# best one was" is not enough: finishing would only repeat it. Loose early on, when a slow start says
# little. Chosen by hand on learning curves of the rendered sample drive; other drives were not tried.
BEHIND = {3: 1.25, 6: 1.05, 10: 0.99}
HOPELESS_FACTOR = 1.5
FEWEST_FOR_MEDIAN = 3
USUAL_STEPS = 20
"""Of an epoch, at least: where few samples make fewer, so many more epochs count as one."""


class LearningCurvePruner(optuna.pruners.BasePruner):
    """Prune a trial whose learning curve cannot win any more. Three rules, each on the last epoch reported:

    - *behind*: the best complete trial of the same freeze choice was clearly better at this epoch (:data:`BEHIND`);
    - *median*: the best epoch so far is worse than the median of such trials at this epoch;
    - *out of reach*: in the epochs that are left the trial would have to improve by more than any such trial
      ever did from that epoch on (times :data:`HOPELESS_FACTOR`) to reach the best of all.

    Epochs of other freeze choices say nothing: a frozen backbone has learnt what it can when an open one has only
    begun. ``steps`` are an epoch's; with few of them an epoch teaches little, and the rules set in later. A trial that
    has reported nothing is never pruned.
    """

    def __init__(self, steps: int = USUAL_STEPS):
        self.slower = max(1.0, USUAL_STEPS / steps)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether ``trial`` is to be ended after its last reported epoch."""
        epoch = trial.last_step
        if epoch is None:
            return False
        value = trial.intermediate_values[epoch]
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        alike = [one for one in complete if one.params.get("freeze") == trial.params.get("freeze")]
        if epoch < PRUNE_AFTER_EPOCHS * self.slower:
            return False
        return (
            _behind(alike, value, epoch, self.slower)
            or _below_median(alike, min(trial.intermediate_values.values()), epoch)
            or _out_of_reach(alike, value, epoch, min(map(_value, complete), default=0.0))
        )


def _behind(complete: list[FrozenTrial], value: float, epoch: int, slower: float) -> bool:
    """Whether the best trial so far was clearly better at this very epoch."""
    best = min(complete, key=_value, default=None)
    if best is None or epoch not in best.intermediate_values:
        return False
    allowed = [factor for first, factor in BEHIND.items() if epoch >= first * slower]
    return bool(allowed) and value > allowed[-1] * best.intermediate_values[epoch]


def _below_median(complete: list[FrozenTrial], best: float, epoch: int) -> bool:
    """Whether half of at least three trials did better at this epoch than this one ever did."""
    values = [one.intermediate_values[epoch] for one in complete if epoch in one.intermediate_values]
    return len(values) >= FEWEST_FOR_MEDIAN and best > median(values)


def _out_of_reach(complete: list[FrozenTrial], value: float, epoch: int, best: float) -> bool:
    """Whether even the largest improvement seen from this epoch on would not reach ``best``."""
    gains = [
        one.intermediate_values[epoch] / _value(one)
        for one in complete
        if epoch in one.intermediate_values and _value(one) > 0
    ]
    if len(gains) < 2:
        return False
    return value / (HOPELESS_FACTOR * max(gains)) > best


def _value(trial: FrozenTrial) -> float:
    """Of a complete trial: its best epoch's error, degrees."""
    assert trial.value is not None
    return trial.value
