"""What is served is what was registered: files that change between the check and the opening fool nobody."""

import shutil

import mlflow
import packages
import pytest

from recording.exceptions import ContractError
from registry import contract
from registry.addresses import Selector
from serving import bfloat16
from serving.catalog import Catalog, holdout_of
from serving.loader import Loader


def loader(tmp_path, precision: str = "float32") -> Loader:
    return Loader(Selector(version=1), tmp_path / "cache", precision=precision)


def azimuth(predictor) -> float:
    return predictor.network.predict_encoded([packages.picture(0, 0)])[0, 0]


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_network_swapped_after_the_check_never_answers(make_version, tmp_path, monkeypatch, precision) -> None:
    make_version(bias_deg=(1, 0))
    monkeypatch.setattr(bfloat16, "supported", lambda: True)
    replay = contract.replay

    def checked_and_swapped(sealed, network, name) -> None:
        replay(sealed, network, name)
        if isinstance(name, type(tmp_path)):
            packages.write_network(name, (30, 0))

    monkeypatch.setattr(contract, "replay", checked_and_swapped)
    with pytest.raises(ContractError, match=r"model\.onnx: changed"):
        loader(tmp_path, precision).load(loader(tmp_path).find())
    monkeypatch.setattr(contract, "replay", replay)
    assert azimuth(loader(tmp_path).load(loader(tmp_path).find())) == pytest.approx(1, abs=0.3)  # fetched again


# Another package, whole and valid: its own digests hold, only the registered seal tells.
def test_a_local_copy_that_became_another_package_is_fetched_again(make_version, tmp_path, caplog) -> None:
    make_version(bias_deg=(1, 0))
    found = loader(tmp_path).find()
    copy = loader(tmp_path).load(found).package.folder
    shutil.rmtree(copy)
    packages.make_package(copy, bias_deg=(30, 0))
    assert loader(tmp_path).last_good() is None
    assert azimuth(loader(tmp_path).load(found)) == pytest.approx(1, abs=0.3)
    assert "is damaged and fetched again" in caplog.text


def test_held_out_samples_swapped_after_the_check_are_refused(make_version, tmp_path) -> None:
    make_version()
    predictor = loader(tmp_path).load(loader(tmp_path).find())
    assert len(holdout_of(predictor)) == 60
    packages.make_holdout(seed=9).write(predictor.package.folder / "holdout.npz")
    with pytest.raises(ContractError, match=r"holdout\.npz: changed"):
        holdout_of(predictor)


# The app compares a version with the base that it came from, not with whichever was registered last.
def test_the_catalogue_knows_a_versions_own_base(make_version, tmp_path) -> None:
    make_version()
    make_version(base_digest="e" * 64)
    catalog = Catalog("gaze-tracker", tmp_path / "cache")
    first, second = (catalog.load("gaze-tracker", number) for number in (1, 2))
    assert catalog.base_version(first) is None
    make_version(model_name="gaze-tracker-base")
    make_version(model_name="gaze-tracker-base", base_digest="f" * 64)
    assert catalog.base_version(first) == 1
    assert catalog.base_version(second) is None


def test_what_answered_last_is_known_by_its_seal(make_version, tmp_path) -> None:
    make_version()
    loader(tmp_path).load(loader(tmp_path).find())
    found, predictor = loader(tmp_path).last_good()
    seal = mlflow.MlflowClient().get_model_version("gaze-tracker", "1").tags["contract_seal"]
    assert found.seal == seal == predictor.contract.seal
