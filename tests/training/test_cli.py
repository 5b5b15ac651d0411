"""The command line of ``python -m training``: what it can do before torch is there."""

import os
import subprocess
import sys
from pathlib import Path

import drives
import pytest

from training import cli
from training.searching import space

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["sklearn"] = sys.modules["matplotlib"] = None
from training import cli
from recording.exceptions import InputError
for command in ("main", "prepare", "evaluate", "curve", "pretrain"):
    try:
        cli.main([command, "--help"])
    except SystemExit as left:
        assert left.code == 0
wrong = (["main", "--samples", "abc"], ["main", "--samples", "0"], ["evaluate", "--scenarios", "0"])
for refused in (*wrong, ["curve", "--sizes", "1,x"]):
    try:
        cli.main(refused)
    except InputError as error:
        print(error)
cli.main(["prepare", *sys.argv[1:]])
"""


# Torch and what stands on it take seconds to import; help, a refused parameter and prepare need none of it.
def test_help_a_refused_parameter_and_prepare_do_without_torch(tmp_path: Path) -> None:
    video, labels = drives.recording(tmp_path / "drive", seconds=3, fps=5)
    options = ["--video", str(video), "--labels", str(labels), "--samples", "4", "--out", str(tmp_path / "out")]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *options],
        cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for command in ("main", "prepare", "evaluate", "curve", "pretrain"):
        assert f"usage: python -m training {command}" in done.stdout
    for line in (
        "samples='abc': must be a whole number",
        "samples=0: must be at least 1",
        "scenarios=0: must be",
        "'x' is no number",
    ):
        assert line in done.stdout
    assert len(list((tmp_path / "out").glob("*_driver.jpg"))) == 4


@pytest.mark.parametrize("command", ["main", "curve"])
def test_the_help_says_from_how_many_samples_on_batches_are_of_the_usual_size(command: str, capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = f"0: {space.USUAL_BATCH}, or {space.SMALL_BATCH} where fewer than {space.FEW_SAMPLES} are trained on"
    assert said in " ".join(capsys.readouterr().out.split())


# Shells leave the tilde of `--work=~/data` and `-P video=~/drive.mp4` to the command; a folder named ~ was made.
def test_a_leading_tilde_is_the_home_folder_in_every_parameter_that_is_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/driver")
    parse = cli.parser().parse_args
    given = parse(["main", "--work=~/w", "--data=~/a,b,~/c", "--base=~/b.pth", "--study=~", "--drives=~/d.csv"])
    assert (given.work, given.data) == ("/home/driver/w", "/home/driver/a,b,/home/driver/c")
    assert (given.base, given.drives, given.study) == ("/home/driver/b.pth", "/home/driver/d.csv", "~")
    given = parse(["prepare", "--video=~/v.mp4", "--labels=~/l.csv", "--out=~/o", "--layout=~/y.yaml"])
    folder = "/home/driver"
    wanted = [f"{folder}/v.mp4", f"{folder}/l.csv", f"{folder}/o", f"{folder}/y.yaml"]
    assert [given.video, given.labels, given.out, given.layout] == wanted
    assert parse(["pretrain", "--export=~/e.pth", "--dataset=~/m"]).export == "/home/driver/e.pth"
