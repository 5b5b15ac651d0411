"""The versions of a model as the app shows them: what is in Production, what there is, and each one loaded."""

import os
from dataclasses import dataclass
from pathlib import Path

from recording.exceptions import NoSuchVersion
from registry.holdout import Holdout
from serving.loader import Found, Loader, Selector, registry_answers
from serving.predictor import Predictor


@dataclass(frozen=True)
class Catalog:
    """The registered model ``model`` and the folder that keeps copies of its versions."""

    model: str
    cache: Path
    stage: str = "Production"

    @property
    def base_model(self) -> str:
        """The registered model that holds the checkpoint before fine-tuning."""
        return f"{self.model}-base"

    def production(self) -> Found:
        """What is in the stage now; :class:`NoSuchVersion` says how to promote something."""
        return Loader(Selector(self.model, self.stage), self.cache).find()

    def versions(self) -> list:
        """All versions, newest first (``registry.versions.Version``); none when there is no such model."""
        with registry_answers():
            from registry import versions

            try:
                return versions.every(self.model)
            except NoSuchVersion:
                return []

    def history(self) -> list:
        """Every change of a stage, oldest first (``registry.history.Line``)."""
        with registry_answers():
            from registry import history

            return history.read(self.model)

    def base_version(self) -> int | None:
        """The newest version of the base model, ``None`` where it is not registered."""
        with registry_answers():
            from registry import versions

            try:
                found = versions.every(self.base_model)
            except NoSuchVersion:
                return None
            return found[0].number if found else None

    def load(self, model: str, version: int) -> Predictor:
        """The verified predictor of a version."""
        # A page waits for one picture: one thread of the machine is not enough for that.
        loader = Loader(Selector(model, version=version), self.cache, threads=os.cpu_count())
        return loader.load(loader.find())


def holdout_of(predictor: Predictor) -> Holdout:
    """The held-out samples that came with the version (its sha256 was verified with the package)."""
    return Holdout.read(predictor.folder / "holdout.npz")
