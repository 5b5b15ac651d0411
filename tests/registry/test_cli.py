"""``python -m registry show | card | verify | compare``: what they print, and how a broken version ends."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import packages
import pytest

from recording.exceptions import ContractError, InputError, NoSuchVersion, RegistryError
from registry import cli, comparison, contract, figures, versions

MODEL = "gaze-tracker"


@pytest.fixture
def two(make_version: Callable) -> None:
    """Two versions on the same held-out samples: 3° off in each angle, and 1°."""
    make_version(bias_deg=(3, 3))
    make_version(bias_deg=(1, 1), rendered=True)


def rows(text: str) -> dict[str, str]:
    """Lines of ``name  value``."""
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in text.splitlines() if len(line.split()) > 1}


def test_show_prints_stage_aliases_run_and_tags(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    mlflow.MlflowClient().set_registered_model_alias(MODEL, "night", "2")
    cli.main(["show", "2"])
    shown = rows(capsys.readouterr().out)
    version = versions.get(MODEL, 2)
    assert (shown["version"], shown["stage"], shown["aliases"]) == ("gaze-tracker 2", "None", "night")
    assert shown["run"] == version.run_id
    assert shown["files"] == version.source
    assert {name: shown[name] for name in version.tags} == version.tags


# Whoever reads its errors has to know that they are not the registered network's own.
def test_a_version_trained_on_all_samples_says_that_its_twin_is_measured(
    make_version: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    make_version(holdout=packages.make_holdout(twin=True), bias_deg=(0.9, 0.9), twin_bias_deg=(1, 1))
    make_version(bias_deg=(3, 3))
    cli.main(["list"])
    marked = [
        line for line in capsys.readouterr().out.splitlines() if "trained on all samples, errors of its twin" in line
    ]
    assert [line.split()[0] for line in marked] == ["1"]
    cli.main(["card", "1"])
    assert "**It was trained on these samples too:** the figures are those of its twin" in capsys.readouterr().out
    cli.main(["compare", "1", "2"])
    said = capsys.readouterr().out
    assert "v2 - v1 (its twin)" in said and "compare-v1-v2.png" in said


def test_show_names_the_versions_there_are(two: None) -> None:
    with pytest.raises(NoSuchVersion, match="no version 9; existing versions: 1, 2"):
        cli.main(["show", "9"])


def test_card_prints_the_card_also_of_a_version_whose_description_was_emptied(
    two: None, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["card", "2"])
    card = capsys.readouterr().out
    assert card.strip() == versions.get(MODEL, 2).description.strip()
    assert "rendered sample drive" in card
    mlflow.MlflowClient().update_model_version(MODEL, "2", description="")
    cli.main(["card", "2"])
    assert capsys.readouterr().out == card


def test_verify_says_what_was_checked_and_names_a_changed_file(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["verify", "2"])
    said = capsys.readouterr().out
    assert "gaze-tracker version 2" in said
    model_id = versions.get(MODEL, 2).source.removeprefix("models:/")
    (path,) = (found for found in Path("mlruns").rglob(contract.NETWORK) if model_id in found.parts)
    packages.write_network(path, (9, 9))
    with pytest.raises(ContractError, match=r"gaze-tracker version 2: model\.onnx: changed"):
        cli.main(["verify", "2"])


# MLflow itself registers files without tags: the figures are the contract's, and of a seal nothing is known.
def test_a_version_without_tags_is_listed_by_its_contract_and_verify_says_what_it_could_not_compare(
    two: None, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow.register_model(versions.get(MODEL, 2).source, MODEL)
    cli.main(["list"])
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "1.00° / 0.99°" in listed["2"] and "1.00° / 0.99°" in listed["3"]
    assert "rendered sample drive" in listed["3"]
    for number in ("2", "3"):
        cli.main(["verify", number])
        said = capsys.readouterr().out
        assert f"gaze-tracker version {number} keeps its contract" in said
        assert ("it has no registered seal (tag contract_seal) to compare with" in said) == (number == "3")
    assert figures.stated(versions.get(MODEL, 3)).seal == ""


def test_a_version_of_another_software_is_listed_without_figures(
    two: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    mlflow.MlflowClient().create_model_version(MODEL, source=str(tmp_path / "other"))
    cli.main(["list"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("3 "))
    assert line.split("  ")[-1].strip() == "-"


def test_compare_prints_the_difference_and_draws_it(
    two: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cli.main(["compare", "1", "2", "--figure", str(tmp_path / "figures" / "two.png")])
    said = capsys.readouterr().out
    assert said.startswith("60 held-out samples that neither was trained on")
    (azimuth,) = (line for line in said.splitlines() if line.startswith("azimuth"))
    first, second, change = azimuth.split()[1:4]
    assert float(first.rstrip("°")) == pytest.approx(3, abs=0.15)
    assert float(second.rstrip("°")) == pytest.approx(1, abs=0.15)
    assert float(change.rstrip("°")) == pytest.approx(-2, abs=0.05)
    assert (tmp_path / "figures" / "two.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("second", ["1", "v1", "01"])
def test_a_version_is_not_compared_with_itself(
    two: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], second: str
) -> None:
    monkeypatch.setattr(comparison, "open_package", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(InputError, match=f"^compare 1 {second}: both are version 1 of gaze-tracker; give two versions"):
        cli.main(["compare", "1", second])


def test_a_comparison_that_fails_leaves_no_empty_folder(
    make_version: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = packages.make_holdout()
    for _ in range(2):
        make_version(holdout=packages.make_holdout(trained_frames=held_out.frames))
    before = {path.name for path in Path.cwd().iterdir()}
    with pytest.raises(RegistryError, match="cannot be compared"):
        cli.main(["compare", "1", "2"])
    with pytest.raises(RegistryError, match="cannot be compared"):
        cli.main(["compare", "1", "2", "--figure", str(tmp_path / "new" / "deep" / "two.png")])
    assert not (tmp_path / "new").exists()
    assert {path.name for path in Path.cwd().iterdir()} == before


@pytest.mark.parametrize("ending", comparison.FIGURES)
def test_every_ending_that_compare_names_can_be_drawn(
    two: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str
) -> None:
    cli.main(["compare", "1", "2", "--figure", str(tmp_path / f"two{ending.upper()}")])
    assert capsys.readouterr().out.endswith(f"figure: {tmp_path / f'two{ending.upper()}'}\n")
    assert [path.name for path in tmp_path.glob("*two*")] == [f"two{ending.upper()}"]
    assert (tmp_path / f"two{ending.upper()}").stat().st_size > 1000


def test_a_figure_without_an_ending_is_a_png(two: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cli.main(["compare", "1", "2", "--figure", str(tmp_path / "two")])
    assert capsys.readouterr().out.endswith(f"figure: {tmp_path / 'two.png'}\n")
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "x.db",
            r"^--figure \S*/x\.db: cannot be written with such an ending; give a name that ends in \.png, ",
        ),
        ("folder.png", r"^--figure \S*/folder\.png: is a folder; give the path of a file in it$"),
        ("file/x.png", r"^--figure \S*/file/x\.png: its folder cannot be written to \("),
    ],
)
def test_a_figure_that_cannot_be_written_is_refused_before_any_work(
    two: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    monkeypatch.setattr(comparison, "open_package", lambda *_: pytest.fail("the work has begun"))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=says):
        cli.main(["compare", "1", "2", "--figure", str(tmp_path / name)])


@pytest.mark.parametrize(
    ("other", "said"),
    [("car", "THE ERRORS SAY NOTHING"), ("unknown", "unless both mean the same, the errors say nothing"), ("head", "")],
)
def test_compare_says_where_angles_may_not_mean_the_same(make_version, capsys, tmp_path, other, said) -> None:
    for kind in ("head", other):
        make_version(label_frame=kind)
    cli.main(["compare", "1", "2", "--figure", str(tmp_path / "two.png")])
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith(said) and first.startswith("v1 answers relative to the head, v2 " if said else "60 held-out")
