"""What is served is what was registered: files that change between the check and the opening fool nobody."""

import shutil
from pathlib import Path

import mlflow
import packages
import pytest

from recording.exceptions import ContractError
from registry import contract
from registry.addresses import Selector
from serving import bfloat16
from serving import loader as loading
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


def test_a_local_copy_nested_too_deeply_is_not_used(make_version, tmp_path, caplog) -> None:
    make_version()
    loader(tmp_path).load(loader(tmp_path).find())
    (copy,) = (tmp_path / "cache").glob("*/1-*/contract.json")
    copy.write_text("[" * 100_000)
    assert loader(tmp_path).last_good() is None
    assert "contract.json: damaged (it is nested too deeply)" in caplog.text
    (last,) = (tmp_path / "cache").glob("*/last-*.json")
    last.write_text("[" * 100_000)
    assert loader(tmp_path).last_good() is None


# Two projects with the same relative address have two registries: neither's copy answers for the other.
def test_a_relative_address_is_another_registry_in_each_folder(make_version, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    make_version()
    loader(tmp_path).load(loader(tmp_path).find())
    assert loader(tmp_path).last_good() is not None
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert loader(tmp_path).last_good() is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert loader(tmp_path).last_good() is not None


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{here}/mlflow.db"),
        ("sqlite:///../a/mlflow.db?timeout=9", "sqlite:///{here.parent}/a/mlflow.db?timeout=9"),
        ("sqlite+pysqlite:///mlflow.db", "sqlite+pysqlite:///{here}/mlflow.db"),
        ("mlruns", "{here}/mlruns"),
        ("./mlruns", "{here}/mlruns"),
        ("file:mlruns", "file://{here}/mlruns"),
        ("file:./mlruns", "file://{here}/mlruns"),
        *[
            (same, same)
            for same in ("sqlite:////srv/mlflow.db", "file:///srv/mlruns", "file:/srv/mlruns", "/srv/mlruns")
        ],
        *[(same, same) for same in ("sqlite:///:memory:", "http://registry:5000", "postgresql://u:p@host/mlflow")],
        *[(same, same) for same in ("databricks", "databricks://profile", "databricks-uc", "uc:http://host:8080")],
    ],
)
def test_what_an_address_means_in_this_folder(tmp_path, monkeypatch, address, meant) -> None:
    monkeypatch.chdir(tmp_path)
    here = Path.cwd()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert loading._registry_address() == meant.format(here=here)


# MLflow keeps these apart; as names of files, with other signs replaced, they would be one.
ALIASES = ["blue_1", "blue-1", "Champion", "champion", "старый", "новый"]


def test_the_copy_of_one_alias_never_answers_for_another(make_version, tmp_path) -> None:
    client = mlflow.MlflowClient()
    for number in [make_version() for _ in (0, 1)]:
        for alias in ALIASES[number - 1 :: 2]:
            client.set_registered_model_alias("gaze-tracker", alias, str(number))
    kept = {alias: Loader(Selector(alias=alias), tmp_path / "cache") for alias in ALIASES}
    for alias, one in kept.items():
        one.load(one.find())
        others = [other for other in ALIASES[ALIASES.index(alias) + 1 :]]
        assert [other for other in others if kept[other].last_good() is not None] == []
    for place, one in enumerate(kept.values()):
        found, predictor = one.last_good()
        assert (found.version, predictor.version) == (place % 2 + 1,) * 2


def test_stage_alias_and_number_have_a_note_each(make_version, tmp_path) -> None:
    make_version()
    client = mlflow.MlflowClient()
    client.transition_model_version_stage("gaze-tracker", "1", "Production")
    client.set_registered_model_alias("gaze-tracker", "Production", "1")
    selectors = [Selector(), Selector(alias="Production"), Selector(version=1), Selector(alias="a" * 200)]
    client.set_registered_model_alias("gaze-tracker", "a" * 200, "1")
    for selector in selectors:
        one = Loader(selector, tmp_path / "cache")
        assert one.last_good() is None
        one.load(one.find())
        assert one.last_good()[0].label == selector.label
    assert len(list((tmp_path / "cache").glob("*/last-*.json"))) == len(selectors)


# As earlier releases wrote it, one file for both aliases.
def test_a_note_of_an_earlier_release_answers_for_the_alias_that_it_says(make_version, tmp_path) -> None:
    make_version()
    mlflow.MlflowClient().set_registered_model_alias("gaze-tracker", "Blue_1", "1")
    one = Loader(Selector(alias="Blue_1"), tmp_path / "cache")
    one.load(one.find())
    (note,) = (tmp_path / "cache").glob("*/last-*.json")
    note.rename(note.with_name("last-alias-blue-1.json"))
    assert one.last_good()[0].label == "@Blue_1"
    assert Loader(Selector(alias="blue-1"), tmp_path / "cache").last_good() is None


# A note that was copied under the name of another one.
def test_a_note_that_says_another_selector_is_not_used(make_version, tmp_path) -> None:
    make_version()
    make_version()
    for number in (1, 2):
        one = Loader(Selector(version=number), tmp_path / "cache")
        one.load(one.find())
    first, second = sorted((tmp_path / "cache").glob("*/last-*.json"))
    shutil.copy(first, second)
    assert Loader(Selector(version=2), tmp_path / "cache").last_good() is None
    assert Loader(Selector(version=1), tmp_path / "cache").last_good()[0].version == 1
