"""Versions: registered whole, described, fetched back as they were, and answering encoded pictures."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import mlflow
import numpy as np
import packages
import pandas as pd
import pytest

from recording.exceptions import ContractError, InputError, NoSuchVersion, RegistryError
from registry import card, cli, contract, opening, registration, resolving, versions

MODEL = "gaze-tracker"


def artifacts(number: int) -> Path:
    """The folder where the files of a version lie."""
    model_id = versions.get(MODEL, number).source.removeprefix("models:/")
    return next(path.parent for path in Path("mlruns").rglob(contract.FILE_NAME) if model_id in path.parts)


def test_a_version_carries_its_errors_digests_and_card(make_version: Callable) -> None:
    version = versions.get(MODEL, make_version(bias_deg=(1, 2), rendered=True))
    assert version.error("azimuth_error_deg") == pytest.approx(1, abs=0.1)
    assert version.error("calibrated_elevation_error_deg") > 5
    assert version.tags["digest.base"] == "b" * 64
    assert version.tags["rendered_sample_drive"] == "true"
    assert "| **this model** | 1.00° |" in version.description
    assert "rendered sample drive" in version.description
    assert "**Angles are relative to the car (not verified).**" in version.description
    of_head = versions.get(MODEL, make_version(label_frame="head"))
    assert "**Angles are relative to the head.** They say how the eyes stand in the head" in of_head.description
    assert (version.tags["label_frame"], of_head.tags["label_frame"]) == ("unknown", "head")
    assert version.run_id


def test_numbers_go_up_and_list_is_newest_first(make_version: Callable) -> None:
    assert [make_version(), make_version()] == [1, 2]
    assert [version.number for version in versions.every(MODEL)] == [2, 1]


def test_what_is_fetched_is_what_was_registered(make_version: Callable, tmp_path: Path) -> None:
    number = make_version(bias_deg=(1, 2))
    fetched = opening.fetch(MODEL, number, versions.get(MODEL, number).seal, tmp_path / "fetched")
    assert sorted(path.name for path in fetched.folder.iterdir()) == sorted((*contract.FILES, contract.FILE_NAME))
    assert contract.verify(fetched.folder) == opening.verify(MODEL, number) == fetched.contract


def test_registering_leaves_the_callers_run_alone(tracking: str, tmp_path: Path) -> None:
    packages.make_package(tmp_path / "package")
    with mlflow.start_run() as run:
        registration.register(tmp_path / "package", model_name=MODEL, run_id=run.info.run_id)
        assert mlflow.active_run().info.run_id == run.info.run_id
    assert versions.get(MODEL, 1).run_id == run.info.run_id


def test_a_package_for_another_model_is_not_registered(tracking: str, tmp_path: Path) -> None:
    packages.make_package(tmp_path / "package", model_name="other")
    with pytest.raises(ContractError, match="sealed for model 'other'"):
        registration.register(tmp_path / "package", model_name=MODEL, run_id="")


def test_a_damaged_package_is_not_registered(tracking: str, tmp_path: Path) -> None:
    packages.make_package(tmp_path / "package")
    (tmp_path / "package" / "model.onnx").write_bytes(b"")
    with pytest.raises(ContractError, match=r"model\.onnx"):
        registration.register(tmp_path / "package", model_name=MODEL, run_id="")
    with pytest.raises(NoSuchVersion):
        versions.every(MODEL)


@pytest.mark.parametrize("name", [*contract.FILES, contract.FILE_NAME])
def test_one_flipped_byte_of_a_registered_file_is_found_at_verify_and_at_load(
    make_version: Callable, name: str
) -> None:
    number = make_version()
    path = artifacts(number) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ContractError, match=f"gaze-tracker version 1: {name}"):
        opening.verify(MODEL, number)
    with pytest.raises(ContractError, match=name):
        mlflow.pyfunc.load_model(f"models:/{MODEL}/{number}")


def test_a_whole_package_put_in_the_place_of_another_is_found(make_version: Callable) -> None:
    first, second = make_version(), make_version(bias_deg=(9, 9))
    for name in (*contract.FILES, contract.FILE_NAME):
        (artifacts(first) / name).write_bytes((artifacts(second) / name).read_bytes())
    with pytest.raises(ContractError, match="not the one that was registered"):
        opening.verify(MODEL, first)


def test_files_that_are_gone_say_where_they_were(make_version: Callable) -> None:
    number = make_version()
    for path in artifacts(number).iterdir():
        path.unlink()
    artifacts_folder = next(path for path in Path("mlruns").rglob("artifacts") if path.parent.name == "artifacts")
    artifacts_folder.rmdir()
    with pytest.raises(RegistryError, match="version 1"):
        opening.verify(MODEL, number)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pyfunc_answers_encoded_pictures_of_any_size(make_version: Callable, suffix: str) -> None:
    make_version(bias_deg=(2, -1))
    picture = cv2.imdecode(np.frombuffer(packages.picture(10, 5), np.uint8), cv2.IMREAD_COLOR)
    large = cv2.imencode(suffix, cv2.resize(picture, (950, 1068)))[1].tobytes()
    found = mlflow.pyfunc.load_model(f"models:/{MODEL}/1").predict(pd.DataFrame({"image": [large, large]}))
    assert list(found.columns) == ["azimuth_deg", "elevation_deg"]
    np.testing.assert_allclose(found, [[12, 4]] * 2, atol=0.4)


def test_pyfunc_names_the_row_that_is_no_picture(make_version: Callable) -> None:
    make_version()
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}/1")
    with pytest.raises(InputError, match="image in row 1: neither JPEG nor PNG"):
        model.predict(pd.DataFrame({"image": [packages.picture(0, 0), b"text"]}))


def test_pyfunc_takes_whatever_holds_bytes_and_names_what_does_not(make_version: Callable) -> None:
    """MLflow's schema lets anything through."""
    make_version()
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}/1")
    sound = packages.picture(0, 0)
    same = model.predict(pd.DataFrame({"image": [sound, bytearray(sound), memoryview(sound)]}))
    assert (same == same.iloc[0]).all(axis=None)
    text = base64.b64encode(sound).decode()
    for cell, says in (
        (text, "is of the type str, not bytes; decode its base64"),
        (text.encode(), "neither JPEG nor PNG but base64 text .*in dataframe_split and"),
        (b"data:image/jpeg;base64," + text.encode(), "neither JPEG nor PNG but base64 text .*in dataframe_split and"),
        (None, "is of the type NoneType, not bytes; give what a JPEG"),
        (np.zeros((8, 8, 3), np.uint8), "is of the type ndarray, not bytes; give what a JPEG"),
    ):
        with pytest.raises(InputError, match=f"image in row 1: {says}"):
            model.predict(pd.DataFrame({"image": [sound, cell]}))


def test_the_version_needs_no_torch_and_its_requirements_are_pinned(make_version: Callable) -> None:
    make_version()
    path = mlflow.artifacts.download_artifacts(f"models:/{MODEL}/1/requirements.txt")
    lines = io.StringIO(Path(path).read_text()).read().split()
    assert any(line.startswith("onnxruntime==") for line in lines)
    assert any(line.startswith("scikit-image==") for line in lines), "versions of drives with several faces find them"
    assert not any(line.startswith("torch") for line in lines)
    assert all("==" in line for line in lines)


def test_a_card_fits_what_postgresql_keeps(tmp_path: Path) -> None:
    sealed = packages.make_package(tmp_path)
    assert len(card.write(sealed, "verdict")) <= card.MAX_LENGTH
    assert "verdict" in card.write(sealed, "verdict")
    assert len(card.write(sealed, "x" * 10_000)) <= card.MAX_LENGTH
    long = sealed.model_copy(update={"training": {f"setting {n}": "x" * 50 for n in range(200)}})
    assert len(card.write(long)) <= card.MAX_LENGTH


def test_a_leaking_split_is_marked_in_the_card(tmp_path: Path) -> None:
    assert "leaks" in card.write(packages.make_package(tmp_path, leaking=True, split="random"))


# MLflow takes such names. A model must not get one here (test_addresses.py); one that has it is read and changed.
def test_a_model_that_got_an_odd_name_elsewhere_is_listed_verified_and_promoted(
    make_version: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    make_version()
    name = "a#b?c%20d@e"
    mlflow.MlflowClient().rename_registered_model(MODEL, name)
    option = ["--model-name", name]
    for command in (
        ["list"],
        ["show", "1"],
        ["verify", "1"],
        ["promote", "--version", "1", "--why", "odd"],
        ["history"],
    ):
        assert cli.main([*command, *option]) == 0
    assert "Production" in capsys.readouterr().out
    assert resolving.resolve(name).version == 1
    with pytest.raises(InputError, match="'#' in it, which means something else in an address"):
        registration.check(name, mlflow.start_run().info.run_id)


# 1.72499 kept as 1.725 was shown as 1.73 where everything else said 1.72.
def test_what_a_version_says_of_its_errors_rounds_as_the_errors_do(make_version: Callable[..., int]) -> None:
    error = versions.get(MODEL, make_version(bias_deg=(1.72499, 0.0))).error("azimuth_error_deg")
    assert error is not None
    assert abs(error - round(error, 3)) > 1e-5


def test_the_advised_commands_take_a_name_with_a_space(make_version: Callable[..., int]) -> None:
    make_version(model_name="my model")
    with pytest.raises(NoSuchVersion, match=r"promote --version 1 --stage Production --model-name 'my model'$"):
        resolving.resolve("my model")


@pytest.mark.parametrize("figure", ["nan", "inf", "about 3"])
def test_a_figure_that_is_no_number_is_none(make_version: Callable, figure: str) -> None:
    make_version()
    mlflow.MlflowClient().set_model_version_tag("gaze-tracker", "1", "azimuth_error_deg", figure)
    assert versions.get("gaze-tracker", 1).error("azimuth_error_deg") is None
