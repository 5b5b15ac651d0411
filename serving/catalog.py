"""The versions of a model as the app shows them: what is in the stage it follows, what there is, each one loaded."""

from dataclasses import dataclass
from pathlib import Path

from recording.exceptions import NoSuchVersion
from recording.processors import cores
from registry import figures, history, versions
from registry.addresses import Found, Selector, base_name
from registry.history import Line
from registry.holdout import Holdout
from registry.resolving import registry_answers
from registry.versions import Version
from serving.loader import Loader
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
        return base_name(self.model)

    def production(self) -> Found:
        """What is in the stage now; :class:`NoSuchVersion` says how to promote something."""
        return Loader(Selector(self.model, self.stage), self.cache).find()

    def versions(self) -> list[Version]:
        """All versions, newest first; none when there is no such model."""
        with registry_answers():
            try:
                return [figures.stated(version) for version in versions.every(self.model)]
            except NoSuchVersion:
                return []

    def history(self) -> list[Line]:
        """Every change of a stage, oldest first."""
        with registry_answers():
            return history.read(self.model)

    def base_version(self, predictor: Predictor) -> int | None:
        """The version of the base model that ``predictor`` was fine-tuned from; ``None`` where it is not registered."""
        with registry_answers():
            found = versions.made_from(
                self.base_model, predictor.contract.digests.base, predictor.contract.crop.face_in_words
            )
        return found.number if found else None

    def load(self, model: str, version: int) -> Predictor:
        """The verified predictor of a version."""
        # A page waits for one picture: one thread of the machine is not enough for that.
        loader = Loader(Selector(model, version=version), self.cache, threads=cores())
        return loader.load(loader.find())


def holdout_of(predictor: Predictor) -> Holdout:
    """The held-out samples that came with the version."""
    return predictor.package.holdout()
