"""The figures of a version, by which it is listed and compared: its tags, or its contract where it has none.

A version that was registered again with MLflow itself (``mlflow.register_model``) has the files and no tags.
"""

from dataclasses import replace

from recording.exceptions import NoSuchVersion, RegistryError
from registry import opening, versions
from registry.baseline_errors import BaselineErrors
from registry.contract import Contract
from registry.versions import Version

RECORDING = "digest.drive"
"""The tag that names the recording whose test blocks a version was measured on."""


def stated(version: Version) -> Version:
    """The version with the tags that registering would have given it, where it has none; its own tags come first.

    Not with a seal: none was registered. A version whose contract cannot be had stays as it is.
    """
    if RECORDING in version.tags:
        return version
    try:
        sealed = opening.read_contract(version.model_name, version.number)
    except RegistryError:  # of another software, or its files are gone: whoever opens it is told
        return version
    known = tags(sealed, BaselineErrors())
    del known[versions.SEAL_TAG]
    return replace(version, tags=known | version.tags)


def tested_on(model_name: str, drive: str, before: int | None = None) -> list[int]:
    """Numbers of the versions (below ``before``) whose errors were measured on this recording, oldest first.

    ``drive`` is the recording's digest. Each time its test blocks are read they say a little less: the best of many
    versions is good by chance as well. Empty without such a model.
    """
    try:
        known = versions.every(model_name)
    except NoSuchVersion:
        return []
    earlier = [version for version in known if before is None or version.number < before]
    return sorted(version.number for version in map(stated, earlier) if version.tags.get(RECORDING) == drive)


def tags(sealed: Contract, baselines: BaselineErrors) -> dict[str, str]:
    """What a person filters and compares versions by in MLflow's table."""
    found = {
        "split": sealed.errors.split,
        "leaking": str(sealed.errors.leaking).lower(),
        "rendered_sample_drive": str(sealed.rendered_sample_drive).lower(),
        "contract_version": str(sealed.contract_version),
        versions.SEAL_TAG: sealed.seal,
        "test_samples": str(sealed.errors.samples),
        versions.FACE_TAG: sealed.crop.face_in_words,
        "label_frame": sealed.output.label_frame,
    }
    if sealed.has_twin:
        found[versions.TWIN_TAG] = "true"
    each = {whose: getattr(sealed.errors, whose) for whose in ("model", "base", "constant", "calibrated")}
    for whose, errors in (baselines.means | {who: means for who, means in each.items() if means is not None}).items():
        prefix = "" if whose == "model" else f"{whose}_"
        found |= {f"{prefix}{name}": f"{value:.5f}" for name, value in errors.model_dump().items()}
    if baselines.best:
        found[versions.BEST_CALIBRATION_TAG] = baselines.best
    found |= {f"digest.{name}": digest for name, digest in sealed.digests.model_dump(exclude_none=True).items()}
    return found | {f"sha256.{name}": digest for name, digest in sealed.files.items()}
