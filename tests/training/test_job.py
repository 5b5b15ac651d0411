"""Bad input to the main job: one line, the run FAILED with it, nothing half-written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import drives
import mlflow
import optuna
import pytest
import torch

from recording.exceptions import GazeError, InputError
from tests import recordings as small
from training import cli, inspection, job
from training.config import JobConfig, choose_device
from training.evaluation import EvaluateConfig
from training.final import Final
from training.learning import model
from training.searching.process import Processes
from training.searching.study import SearchResult


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return drives.prepared_folder(tmp_path_factory.mktemp("data") / "samples", n=90, fps=3)


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> tuple[Path, Path]:
    return drives.recording(tmp_path_factory.mktemp("recording"), seconds=3)


def refused(*arguments: str) -> str:
    """The one line with which the command is refused."""
    with pytest.raises(GazeError) as error:
        cli.main(list(arguments))
    assert "\n" not in str(error.value)
    return str(error.value)


PARAMETERS = [
    (["--samples", "0"], "samples=0: must be at least 1"),
    (["--samples", "-3"], "samples=-3: must be at least 1"),
    (["--samples", "abc"], "samples='abc': must be a whole number"),
    (["--samples", "1.5"], "samples='1.5': must be a whole number"),
    (["--lr_min", "nan"], "lr_min='nan': must be a finite number"),
    (["--lr_min", "0.1", "--lr_max", "0.01"], "lr_min=0.1 is above lr_max=0.01"),
    (["--lr_min", "0"], "must be above 0"),
    (["--epochs_min", "9", "--epochs_max", "3"], "epochs_min=9 is above epochs_max=3"),
    (["--trials", "0"], "trials=0: must be at least 1"),
    (["--batch_size", "-1"], "batch_size=-1: must be 0 (chosen by the samples) or at least 1"),
    (["--timeout", "-1"], "timeout=-1"),
    (["--workers", "-1"], "workers=-1: must be at least 1, or 0 for what suits"),
    (["--cluster", "somewhere"], "cluster='somewhere': give auto, HOST:PORT or ray://HOST:PORT"),
    (["--freeze", "backbone,layer9"], "choose from backbone,layer3,layer2,layer1,none"),
    (["--freeze", ""], "choose from backbone,layer3,layer2,layer1,none"),
    (["--freeze", "none,none"], "named twice"),
    (["--bn", "mine"], "choose from source,target"),
    (["--split", "weekly"], "choose one of auto, blocks, random, by-drive, by-driver"),
    (["--device", "tpu"], "choose one of auto, cuda, mps, cpu"),
    (["--on_bad_rows", "skip"], "on_bad_rows='skip' is unknown: choose one of stop, drop"),
    (["--face", "1,2,3"], "face='1,2,3': choose auto, none, or x,y,w,h in pixels of the driver view"),
    (["--face", "0,0,20,50"], "face=0,0,20,50: shows no eyes; give a width and height of at least 24 pixels"),
    (["--track", "-2"], "track=-2: films are counted from 0"),
    (["--study", "../x"], "letters, digits"),
    (["--model_name", "a/b"], "model name 'a/b' has '/' in it"),
    (["--model_name", "o'brien"], 'has "\'" in it'),
    (["--model_name", " "], "is empty"),
    (["--seed", "-1"], "seed=-1: must be from 0"),
    (["--video", "v.mp4"], "video= was given without labels="),
    (["--labels", "l.csv"], "labels= was given without video="),
    (["--data", "d", "--video", "v", "--labels", "l"], "data= replaces video="),
    (["--folds", "5"], "folds=5: acts with split=by-driver, and this is split=blocks"),
    (["--folds", "5", "--drives", "d.csv", "--split", "by-drive"], "and this is split=by-drive: nobody is left out"),
    (["--nonsense", "1"], "unrecognized arguments: --nonsense"),
]


def test_a_password_is_refused_before_mlflow_shows_it_to_everybody(tracking):
    address = "postgresql+psycopg2://gaze:secret@127.0.0.1/gaze_study"
    assert "leave the password out" in refused("main", "--storage", address)
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []


@pytest.mark.parametrize(("arguments", "says"), PARAMETERS, ids=[" ".join(given) for given, _ in PARAMETERS])
def test_a_wrong_parameter_is_named_with_the_legal_ones(tracking, arguments, says):
    assert says in refused("main", *arguments)
    assert not Path("data").exists()


# An artifact root that only the server can write was a traceback after the whole search.
@pytest.mark.parametrize("command", ["main", "evaluate"])
def test_artifacts_that_cannot_be_written_end_a_command_before_it_begins(tracking, tmp_path, monkeypatch, command):
    (tmp_path / "file").touch()
    mlflow.create_experiment("x", artifact_location=str(tmp_path / "file" / "mlruns"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "x")
    line = refused(command, "--data", str(tmp_path / "never-looked-at"))
    assert "which cannot be written from here" in line
    assert mlflow.search_runs(experiment_names=["x"], output_format="list")[0].data.tags["error"] == line


def test_a_wrong_parameter_under_mlflow_run_fails_the_run_with_the_line(tracking, monkeypatch):
    """``mlflow run -P samples=abc`` has made its run before our process starts."""
    run = mlflow.MlflowClient().create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    line = refused("main", "--samples", "abc")
    after = mlflow.get_run(run.info.run_id)
    assert after.info.status == "FAILED"
    assert after.data.tags["error"] == line


def only_run() -> mlflow.entities.Run:
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    return run


def make_inputs(tmp_path: Path, folder: Path, recording: tuple[Path, Path]) -> dict[str, list[str]]:
    video, labels = recording
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    columns = tmp_path / "columns.csv"
    columns.write_text("frame,az\n1,2\n")
    late = tmp_path / "late.csv"
    late.write_text("dash_frames,azimuth [deg],elevation [deg]\n" + "".join(f"{9000 + k},1,2\n" for k in range(50)))
    keys = tmp_path / "keys.pth"
    torch.save({"weight": torch.zeros(2)}, keys)
    for name, weight, value in (("negative", "bn1.running_var", -1.0), ("constant", "fc.3.weight", 0.0)):
        state = model.build().state_dict()
        state[weight].fill_(value)
        torch.save(state, tmp_path / f"{name}.pth")
    (tmp_path / "empty").mkdir()
    layout = tmp_path / "layout.yaml"
    layout.write_text("width: 640\nheight: 480\nviews: {driver: {x: 0, y: 0, w: 300, h: 300}}\n")
    with_labels, given = ["--labels", str(labels)], ["--data", str(folder), "--work", str(tmp_path), "--base"]
    return {
        r"absent\.mp4": ["--video", str(tmp_path / "absent.mp4"), *with_labels],
        r"text\.mp4": ["--video", str(text), *with_labels],
        r"absent\.csv": ["--video", str(video), "--labels", str(tmp_path / "absent.csv")],
        r"columns\.csv.*dash_frames.*'frame', 'az'": ["--video", str(video), "--labels", str(columns)],
        r"late\.csv": ["--video", str(video), "--labels", str(late)],
        r"1504.540": ["--video", str(video), *with_labels, "--layout", str(layout)],
        r"unknown|layout": ["--video", str(video), *with_labels, "--layout", "submarine"],
        r"no samples found.*empty.*_driver\.jpg.*prepare": ["--data", str(tmp_path / "empty")],
        r"nowhere": ["--data", str(tmp_path / "nowhere")],
        r"keys\.pth.*missing 'conv1\.weight'.*unexpected 'weight'": ["--data", str(folder), "--base", str(keys)],
        r"negative\.pth: answers \d+ of \d+ pictures with no number": [*given, str(tmp_path / "negative.pth")],
        r"constant\.pth: answers .* to each of the \d+ pictures": [*given, str(tmp_path / "constant.pth")],
        r"absent\.pth": ["--data", str(folder), "--base", str(tmp_path / "absent.pth")],
        r"gaze-tracker": ["--data", str(folder), "--base", "models:/gaze-tracker/Production"],
        r"not a model address": ["--data", str(folder), "--base", "models:/gaze-tracker"],
        r"split=by-drive.*at least 3": ["--data", str(folder), "--split", "by-drive"],
    }


CASES = [
    r"absent\.mp4",
    r"text\.mp4",
    r"absent\.csv",
    r"columns\.csv.*dash_frames.*'frame', 'az'",
    r"late\.csv",
    r"1504.540",
    r"unknown|layout",
    r"no samples found.*empty.*_driver\.jpg.*prepare",
    r"nowhere",
    r"keys\.pth.*missing 'conv1\.weight'.*unexpected 'weight'",
    r"negative\.pth: answers \d+ of \d+ pictures with no number",
    r"constant\.pth: answers .* to each of the \d+ pictures",
    r"absent\.pth",
    r"gaze-tracker",
    r"not a model address",
    r"split=by-drive.*at least 3",
]


def test_main_and_evaluate_read_the_film_that_is_chosen(tmp_path):
    parts = [small.video(tmp_path / f"{n}.mp4", 12, size) for n, size in enumerate([(192, 96), (160, 128)])]
    both = small.joined(tmp_path / "v.mp4", *parts)
    labels = small.labels(tmp_path / "l.csv", range(12))
    given = {"video": str(both), "labels": str(labels), "layout": "driver", "samples": 5, "work": str(tmp_path)}
    for track, height in ((-1, 96), (0, 96), (1, 128)):
        for config in (JobConfig(track=track, **given), EvaluateConfig(track=track, **given).job()):
            (drive,) = job.prepare_data(config).drives
            assert cv2.imread(str(drive.driver_file(0))).shape[0] == height


def test_an_offset_of_the_sample_drive_has_a_folder_of_its_own(tmp_path, recording, monkeypatch):
    monkeypatch.setattr(job.sample_drive, "render", lambda _: recording)
    for offset in (0, 3, 0):
        config = JobConfig(samples=5, work=str(tmp_path), label_offset_frames=offset)
        assert inspection.label_offsets(job.prepare_data(config)) == [offset]


@pytest.mark.parametrize("says", CASES)
def test_bad_files_end_in_one_line_and_a_failed_run(tracking, tmp_path, folder, recording, says):
    line = refused("main", "--samples", "20", *make_inputs(tmp_path, folder, recording)[says])
    assert re.search(says, line), line
    run = only_run()
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == line
    assert not mlflow.MlflowClient().search_registered_models()


WITHOUT_RAY = """
import sys
from functools import partial
from training import __main__, curve, evaluation, job
from registry.command_line import leave
assert "ray" not in sys.modules, "only a cluster needs it"
interruption = __main__.handler()
interruption.install()
leave(partial(__main__.main, interruption), early=interruption)
"""


def test_a_tracking_server_that_is_not_there_is_one_line_and_without_a_cluster_nothing_imports_ray(tmp_path):
    """A real process: MLflow's own retries and traceback must not reach the user."""
    root = Path(__file__).parents[2]
    env = os.environ | {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "PYTHONPATH": str(root),
    }
    for variable in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        env.pop(variable, None)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, "main", "--samples", "10"],
        capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: MLflow at http://127.0.0.1:9 does not answer")


def test_defaults_are_the_documented_ones():
    config = JobConfig()
    assert (config.samples, config.trials, config.batch_size, config.work) == (500, 12, 0, "data")
    assert config.space().freeze == ("backbone", "layer3", "layer2", "none")
    assert config.space().bn == ("source", "target")


def test_an_absent_device_is_named():
    if torch.cuda.is_available():
        pytest.skip("CUDA is here")
    with pytest.raises(InputError, match="cuda: not on this machine"):
        choose_device("cuda")


def test_a_timeout_that_went_on_activations_is_said_before_the_first_trial(tracking, folder, monkeypatch, capsys):
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cli.main(["main", "--data", str(folder), "--face", "none", "--freeze", "backbone", "--timeout", "1"])
    said = capsys.readouterr()
    assert (said.err + said.out).count("timeout=1 IS SHORT FOR") == 1


@pytest.mark.slow
def test_one_seed_gives_one_result_also_two_trials_at_once_and_a_leaking_split_is_marked(
    tracking, folder, tmp_path, monkeypatch, capsys
):
    """Three searches with one seed; the old protocol's split, whose numbers say everywhere that they leak.

    On what users have today, ``*_driver.jpg`` and ``*_gt.json``: such a folder does not say where its pictures lay, so
    what ``layout=`` says goes into the contracts.
    """
    layout = tmp_path / "mine.yaml"
    layout.write_text("width: 1280\nheight: 400\nviews: {driver: {x: 640, y: 20, w: 320, h: 360}}\n")
    common = ["--data", str(folder), "--trials", "2", "--freeze", "backbone", "--epochs_max", "6", "--seed", "7"]
    common += ["--timeout", "36000", "--face", "none", "--split", "random", "--layout", str(layout)]
    allowed, weights, search, final_training = [], [], job.search, job.final.train
    monkeypatch.setattr(job, "search", lambda *given: allowed.append(given[3][0]) or search(*given))

    def watched(*given) -> Final:
        if len(allowed) == 3:
            raise KeyboardInterrupt
        trained = final_training(*given)
        weights.append(model.digest(trained.network))
        if len(weights) == 2:
            raise KeyboardInterrupt  # the same weights are reported and registered alike
        return trained

    monkeypatch.setattr(job.final, "train", watched)
    beside, start = [], Processes.start
    monkeypatch.setattr(Processes, "start", lambda ours, spec: beside.append(len(ours._running)) or start(ours, spec))
    assert cli.main(["main", *common, "--study", "a", "--workers", "1"]) == 0
    for study, workers in (("b", "1"), ("c", "2")):
        with pytest.raises(KeyboardInterrupt):
            cli.main(["main", *common, "--study", study, "--workers", workers])
    values = {
        study: {run.info.run_name: run.data.metrics["best/angular_error_deg"] for run in _trials_of(study)}
        for study in "abc"
    }
    assert values["a"] == values["b"]
    assert weights[0] == weights[1]
    assert all(0.5 * 36000 < seconds < 0.55 * 36000 for seconds in allowed), "activations took no time"
    # The opening is proposed whatever is known; fewer threads add up in another order.
    assert values["c"] == pytest.approx(values["a"], rel=1e-3)
    children = _trials_of("c")
    (parent,) = _runs("tags.study = 'c' and attributes.status = 'KILLED'")
    assert [run.info.status for run in children] == ["FINISHED", "FINISHED"]
    # Trials so short need not overlap by their runs' clocks: what counts is that none waits for the other to end.
    assert beside == [0, 0, 0, 0, 0, 1]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert all(run.data.metrics["peak_memory_mib"] > 100 for run in children)

    line = refused("main", *common, "--study", "a", "--batch_size", "16")
    assert "batch_size (8 then, 16 now)" in line

    assert "LEAKING SPLIT" in capsys.readouterr().out
    (parent,) = _runs("metrics.`test/samples` > 0")
    assert parent.data.tags["leaking_split"] == "true"
    assert "LEAKING" in parent.data.tags["mlflow.note.content"]
    table = mlflow.artifacts.load_text(f"runs:/{parent.info.run_id}/report/report.html")
    assert "LEAKING" in table
    rectangle = {"width": 1280, "height": 400, "x": 640, "y": 20, "w": 320, "h": 360}
    for name in ("gaze-tracker", "gaze-tracker-base"):
        source = mlflow.artifacts.download_artifacts(f"models:/{name}/1")
        contract = json.loads(next(Path(source).rglob("contract.json")).read_text())
        assert contract["errors"]["leaking"] is True
        assert (contract["crop"]["layout"], contract["crop"]["rectangles"]) == ("mine.yaml", [rectangle])


def _trials_of(study: str) -> list[mlflow.entities.Run]:
    return _runs(f"tags.study = '{study}' and metrics.`best/epoch` >= 0")


def _runs(which: str) -> list[mlflow.entities.Run]:
    return mlflow.search_runs(search_all_experiments=True, output_format="list", filter_string=which)


def _trial(number: int, **attributes):
    return optuna.trial.create_trial(value=1.0, user_attrs=attributes)


def test_the_last_lines_say_how_many_trials_were_run_and_how_to_run_the_rest():
    trials = [
        _trial(0, result={"ended": "complete"}),
        _trial(1, result={"ended": "pruned"}),
        _trial(2, error="no memory"),
        _trial(3),  # cut off by a kill and tried again: it does not count
    ]
    found = SearchResult(best=trials[0], checkpoint=Path(), trials=trials, cache_seconds=0, study="mine")
    said = job.trials_run(JobConfig(trials=12, timeout=480), found)
    assert said.startswith("3 of 12 trials, 1 of them ended early")
    assert "1 failed" in said
    assert "timeout=480 s" in said
    assert "study=mine" in said
    assert "time was up" not in job.trials_run(JobConfig(trials=3), found)
