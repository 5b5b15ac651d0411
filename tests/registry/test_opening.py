"""A version is opened from the very bytes that were checked, and they are the registered ones."""

from collections.abc import Callable
from pathlib import Path

import packages
import pytest

from recording import files
from recording.exceptions import ContractError, NoSuchVersion, RegistryError
from registry import contract, opening, resolving
from registry.addresses import Selector

MODEL = "gaze-tracker"


def fetched(number: int, into: Path) -> contract.VerifiedPackage:
    found = resolving.find(Selector(MODEL, version=number))
    return opening.fetch(found.model, found.version, found.seal, into)


def test_stage_alias_and_number_find_the_same_version_with_its_seal(make_version: Callable) -> None:
    import mlflow

    make_version()
    client = mlflow.MlflowClient()
    client.transition_model_version_stage(MODEL, "1", "Production")
    client.set_registered_model_alias(MODEL, "night", "1")
    asked = [Selector(MODEL), Selector(MODEL, alias="night"), Selector(MODEL, version=1)]
    answers = [resolving.find(selector) for selector in asked]
    assert [found.label for found in answers] == ["Production", "@night", ""]
    assert {(found.model, found.version, found.identity) for found in answers} == {(MODEL, 1, answers[0].identity)}
    seal = client.get_model_version(MODEL, "1").tags["contract_seal"]
    assert {found.seal for found in answers} == {seal}


# Between the check and the opening the file becomes another valid network: its answers must not come out.
@pytest.mark.parametrize("name", [contract.NETWORK, contract.WEIGHTS, "holdout.npz"])
def test_a_file_swapped_after_the_check_is_refused(make_version: Callable, tmp_path: Path, name: str) -> None:
    make_version()
    package = fetched(1, tmp_path / "fetched")
    packages.make_package(tmp_path / "other", bias_deg=(9, 9), seed=7)
    (package.folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    opened: dict[str, Callable[[], object]] = {
        contract.NETWORK: package.network,
        contract.WEIGHTS: lambda: package.content(contract.WEIGHTS),
        "holdout.npz": package.holdout,
    }
    with pytest.raises(ContractError, match=f"{name}: changed since it was registered"):
        opened[name]()


def test_what_was_read_once_stays_what_it_was(make_version: Callable, tmp_path: Path) -> None:
    make_version(bias_deg=(2, 0))
    package = fetched(1, tmp_path)
    network = package.network()
    packages.write_network(package.folder / contract.NETWORK, (9, 9))
    assert network.predict_encoded([packages.picture(0, 0)])[0, 0] == pytest.approx(2, abs=0.3)


# The whole package of another model put into the store, valid in itself: only the registered seal tells.
def test_a_valid_package_in_the_place_of_the_registered_one_is_refused(make_version: Callable, tmp_path: Path) -> None:
    make_version()
    (stored,) = (tmp_path / "mlruns").rglob(contract.FILE_NAME)
    packages.make_package(stored.parent, bias_deg=(9, 9))
    contract.verify(stored.parent)
    with pytest.raises(ContractError, match=f"{MODEL} version 1: .*not the one that was registered"):
        fetched(1, tmp_path / "fetched")
    with pytest.raises(ContractError, match="not the one that was registered"):
        opening.verify(MODEL, 1)


# MLflow would make an empty database in whatever folder somebody happens to be.
@pytest.mark.parametrize("selector", [Selector(MODEL), Selector(MODEL, version=3), Selector(MODEL, alias="night")])
def test_asking_where_there_is_no_registry_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, selector: Selector
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(None)
    with pytest.raises(NoSuchVersion, match=r"there is no registry: .*mlflow\.db does not exist"):
        resolving.find(selector)
    assert list(tmp_path.iterdir()) == []


# What MLflow raises when a download ends there; of a server's own disk only what stands behind its status says so.
@pytest.mark.parametrize(
    ("said", "raised"),
    [
        ("artifacts from /store:\n##### File model.onnx #####\n[Errno 28] No space left on device", files.DiskFull),
        ("artifacts from /store:\n##### File model.onnx #####\n[Errno 122] Disk quota exceeded", files.DiskFull),
        ("[Errno 28] No space left on device: '/scratch/model.onnx'", files.DiskFull),
        ("##### File a #####\n500 Server Error: [Errno 28] No space left on device", RegistryError),
        ("##### File a #####\n[Errno 13] Permission denied: '/store/a'", RegistryError),
    ],
)
def test_a_full_disk_of_ones_own_is_told_from_a_store_that_fails(
    make_version: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, raised: type[Exception]
) -> None:
    import mlflow

    make_version()

    def fail(**_: str) -> None:
        raise mlflow.MlflowException(f"The following failures occurred: {said}" if "#" in said else said)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fail)
    with pytest.raises(raised, match=f"{MODEL} version 1") as told:
        fetched(1, tmp_path / "into")
    assert raised is RegistryError or str(tmp_path / "into") in str(told.value)


# One folder has to have room, not the system's for temporary files too.
def test_a_version_is_fetched_without_another_folder(
    make_version: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version()
    monkeypatch.setattr("tempfile.tempdir", "/proc/x")
    package = fetched(1, tmp_path / "into")
    assert [path for path in (tmp_path / "into").iterdir()] == [package.folder]
