"""The contract: sealed once, and any change of any byte of a package is found and named."""

import json
from pathlib import Path

import numpy as np
import packages
import pytest

from recording.exceptions import ContractError
from registry import contract

FILES = (*contract.FILES, contract.FILE_NAME)


@pytest.fixture(scope="module")
def sealed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    packages.make_package(folder, bias_deg=(1, 2))
    return folder


@pytest.fixture
def folder(sealed_folder: Path, tmp_path: Path) -> Path:
    """A copy of the package that a test may damage."""
    for name in FILES:
        (tmp_path / name).write_bytes((sealed_folder / name).read_bytes())
    return tmp_path


def reseal(folder: Path, **changes: object) -> None:
    """Change fields of contract.json and seal it again, as software of another version might."""
    path = folder / contract.FILE_NAME
    fields = json.loads(path.read_text()) | changes | {"seal": "0" * 64}
    blank = json.dumps(fields)
    path.write_text(blank.replace("0" * 64, contract.hashlib.sha256(blank.encode()).hexdigest()))


def test_a_sealed_package_verifies_and_says_what_it_promises(folder: Path) -> None:
    promise = contract.verify(folder)
    assert promise.contract_version == 3
    assert (promise.output.label_frame, promise.output.relative_to) == ("unknown", "the car (not verified)")
    assert promise.output.convention == "dashgaze"
    assert set(promise.files) == set(contract.FILES)
    assert promise.errors.model.azimuth_error_deg == pytest.approx(1.0, abs=0.1)
    assert len(promise.golden) == 5


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_anywhere_in_a_file_is_found_and_the_file_named(folder: Path, name: str) -> None:
    intact = (folder / name).read_bytes()
    places = np.random.default_rng(0).integers(len(intact), size=25)
    for place in [0, len(intact) - 1, *places]:
        damaged = bytearray(intact)
        damaged[place] ^= 1 << (int(place) % 8)
        (folder / name).write_bytes(damaged)
        with pytest.raises(ContractError, match=name):
            contract.verify(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ContractError, match=name):
        contract.verify(folder)


# Software that knows no twins would take the model's answers to its own training frames for errors.
def test_a_package_with_a_twin_is_of_a_version_of_its_own_and_the_twin_is_checked_like_every_file(
    tmp_path: Path,
) -> None:
    promise = packages.make_package(tmp_path, holdout=packages.make_holdout(twin=True), twin_bias_deg=(4, 0))
    assert contract.verify(tmp_path).contract_version == promise.contract_version == 4
    assert promise.has_twin and set(promise.files) == {*contract.FILES, "twin.onnx"}
    assert promise.errors.model.azimuth_error_deg == pytest.approx(4, abs=0.1)  # the twin's: the model is right
    answered = contract.VerifiedPackage(tmp_path, promise)
    shown = [packages.picture(5, 5)]
    assert answered.measured_network().predict_encoded(shown)[0] == pytest.approx([9, 5], abs=0.3)
    assert answered.network().predict_encoded(shown)[0] == pytest.approx([5, 5], abs=0.3)
    twin = tmp_path / contract.TWIN
    twin.write_bytes(twin.read_bytes()[:-1] + b"!")
    with pytest.raises(ContractError, match=r"twin\.onnx: changed"):
        contract.verify(tmp_path)
    twin.unlink()
    with pytest.raises(ContractError, match=r"twin\.onnx: cannot be read"):
        contract.verify(tmp_path)


def test_a_twin_that_the_samples_tell_of_has_to_be_there_to_be_sealed(folder: Path) -> None:
    packages.make_holdout(twin=True).write(folder / "holdout.npz")
    fields = json.loads((folder / contract.FILE_NAME).read_text())
    statement = contract.Statement(
        **{name: fields[name] for name in ("model_name", "crop", "errors", "digests", "training")},
        rendered_sample_drive=True,
    )
    with pytest.raises(ContractError, match=r"twin\.onnx: cannot be read"):
        contract.seal(folder, [packages.picture(0, 0)] * 5, statement)


# The gate would measure the model itself on samples that it has seen, or a network that nobody has told what it saw.
@pytest.mark.parametrize("told", [True, False], ids=["only the samples tell of a twin", "only the contract does"])
def test_contract_and_samples_have_to_agree_on_a_twin(tmp_path: Path, told: bool) -> None:
    packages.make_package(tmp_path, holdout=packages.make_holdout(twin=True), bias_deg=(1, 0))
    listed = json.loads((tmp_path / contract.FILE_NAME).read_text())["files"]
    if told:
        del listed[contract.TWIN]
    else:
        packages.make_holdout().write(tmp_path / "holdout.npz")
        listed["holdout.npz"] = contract.hashlib.sha256((tmp_path / "holdout.npz").read_bytes()).hexdigest()
    for version in (3, 4):
        reseal(tmp_path, files=listed, contract_version=version)
        with pytest.raises(ContractError, match=r"disagree on whether a twin|contract version \d with(out)? twin"):
            contract.verify(tmp_path)


# Software of before, which reads versions 1 to 3, would measure the model itself.
def test_only_a_contract_of_version_4_has_a_twin(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with_twin = tmp_path_factory.mktemp("twin")
    packages.make_package(with_twin, holdout=packages.make_holdout(twin=True), bias_deg=(1, 0))
    for place, version, says in ((with_twin, 3, "3 with twin"), (folder, 4, "4 without twin")):
        reseal(place, contract_version=version)
        with pytest.raises(ContractError, match=rf"contract version {says}\.onnx"):
            contract.verify(place)


def test_a_twin_that_is_the_model_itself_or_no_network_is_not_sealed(tmp_path: Path) -> None:
    samples = packages.make_holdout(twin=True)
    with pytest.raises(ContractError, match=r"twin\.onnx is model\.onnx itself, which has seen the held-out samples"):
        packages.make_package(tmp_path, holdout=samples)
    packages.make_package(tmp_path, holdout=samples, bias_deg=(1, 0))
    promise = json.loads((tmp_path / contract.FILE_NAME).read_text())
    reseal(tmp_path, files=promise["files"] | {contract.TWIN: promise["files"][contract.NETWORK]})
    with pytest.raises(ContractError, match=r"twin\.onnx is model\.onnx itself"):
        contract.verify(tmp_path)
    (tmp_path / contract.TWIN).write_bytes(b"no network")
    statement = {name: promise[name] for name in ("model_name", "crop", "errors", "digests", "training")}
    with pytest.raises(ContractError, match=r"twin\.onnx: not a network that ONNX Runtime opens"):
        contract.seal(
            tmp_path, [packages.picture(0, 0)] * 5, contract.Statement(**statement, rendered_sample_drive=True)
        )


def test_an_unknown_contract_version_is_refused_with_both_versions(folder: Path) -> None:
    reseal(folder, contract_version=5)
    with pytest.raises(
        ContractError, match=r"contract version 5 is not known here .*knows 1, 2, 3, 4\); update the soft"
    ):
        contract.verify(folder)


def test_contracts_of_the_releases_before_are_read_without_what_came_after_them(folder: Path) -> None:
    fields = json.loads((folder / contract.FILE_NAME).read_text())
    del fields["output"]["label_frame"], fields["unseen_driver"]
    (folder / contract.FILE_NAME).write_text(json.dumps(fields))
    reseal(folder, contract_version=2)
    read = contract.verify(folder)
    assert (read.contract_version, read.output.label_frame, read.unseen_driver) == (2, "unknown", None)
    del fields["crop"]["face"], fields["digests"]["weights"], fields["seen"]
    (folder / contract.FILE_NAME).write_text(json.dumps(fields))
    reseal(folder, contract_version=1)
    read = contract.verify(folder)
    assert (read.contract_version, read.crop.face, read.digests.weights, read.seen) == (1, None, None, {})


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "", "\ufeff{}"])
def test_a_contract_that_is_no_contract_is_refused_in_one_line(folder: Path, text: str) -> None:
    (folder / contract.FILE_NAME).write_text(text)
    with pytest.raises(ContractError, match=r"contract\.json: ") as refused:
        contract.verify(folder)
    assert len(str(refused.value).splitlines()) == 1


def test_a_promise_this_software_does_not_know_is_refused(folder: Path) -> None:
    reseal(folder, head_pose=True)
    with pytest.raises(ContractError, match="head_pose"):
        contract.verify(folder)


def test_an_unknown_convention_is_refused(folder: Path) -> None:
    output = json.loads((folder / contract.FILE_NAME).read_text())["output"]
    reseal(folder, output=output | {"convention": "upside-down"})
    with pytest.raises(ContractError, match=r"output\.convention"):
        contract.verify(folder)


def test_a_machine_that_computes_other_angles_is_refused_by_the_golden_pictures(folder: Path) -> None:
    golden = json.loads((folder / contract.FILE_NAME).read_text())["golden"]
    golden[2]["azimuth_deg"] += 0.2
    reseal(folder, golden=golden)
    with pytest.raises(ContractError, match="golden picture 3"):
        contract.verify(folder)


def test_golden_answers_within_a_tenth_of_a_degree_are_accepted(folder: Path) -> None:
    golden = json.loads((folder / contract.FILE_NAME).read_text())["golden"]
    golden[2]["azimuth_deg"] += 0.05
    reseal(folder, golden=golden)
    contract.verify(folder)


def test_four_golden_pictures_are_not_enough(tmp_path: Path, folder: Path) -> None:
    golden = json.loads((folder / contract.FILE_NAME).read_text())["golden"]
    reseal(folder, golden=golden[:4])
    with pytest.raises(ContractError, match="4 golden pictures"):
        contract.verify(folder)


def test_sealing_names_the_field_that_does_not_fit(folder: Path) -> None:
    none = packages.mean_errors(*[np.zeros((1, 2))] * 2)
    stated = contract.Statement(
        model_name="gaze-tracker",
        crop={"layout": "dashgaze"},
        errors={"split": "blocks", "leaking": False, "samples": 0, "model": none},
        digests={"data": "a", "drive": "b", "base": "c", "code": "d"},
        training={},
        rendered_sample_drive=False,
    )
    with pytest.raises(ContractError, match=r"errors\.samples"):
        contract.seal(folder, [packages.picture(0, 0)] * 5, stated)
