"""Who trains and who is judged on: persons, never pictures, are held out."""

from collections.abc import Sequence
from dataclasses import dataclass

from recording.exceptions import InputError


@dataclass(frozen=True)
class Fold:
    """One training: on ``train``, judged on ``held_out``, both names of persons."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def name(self) -> str:
        """``p14``, or ``p13+p14``."""
        return "+".join(self.held_out)


def folds(names: Sequence[str], held_out: str, everybody: bool) -> tuple[Fold, ...]:
    """The trainings, the one that is registered first.

    ``held_out`` names persons, comma-separated; empty: the last one. With ``everybody`` each person is held out once,
    by itself, and ``held_out`` is the one that the registered training leaves out. Raises :class:`InputError`.
    """
    chosen = tuple(sorted({part.strip() for part in held_out.split(",") if part.strip()})) or (names[-1],)
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise InputError(
            f"held_out={held_out}: {', '.join(unknown)} is not among the persons that can be used ({', '.join(names)})"
        )
    if len(chosen) == len(names):
        raise InputError(f"held_out={held_out}: those are all persons; leave one at least to train on")
    if not everybody:
        return (_without(names, chosen),)
    if len(chosen) > 1:
        raise InputError(
            f"held_out={held_out}: with folds=persons each person is left out once; name the one that the registered "
            "base "
            "is not to be trained on"
        )
    return tuple(_without(names, (name,)) for name in (*chosen, *(name for name in names if name not in chosen)))


def _without(names: Sequence[str], held_out: tuple[str, ...]) -> Fold:
    return Fold(tuple(name for name in names if name not in held_out), held_out)
