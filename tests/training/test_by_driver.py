"""Six drives of four drivers, from a list through to a version: prepared, left out in turn, registered and gated."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import drives
import mlflow
import numpy as np
import pytest
import torch

from recording import drive_list, processors
from recording import recordings as prepared
from recording.angles import pitch_yaw_to_deg
from recording.exceptions import InputError
from registry import comparison, gate, versions
from training import cli, fleet, job
from training.config import JobConfig
from training.context import Job
from training.learning import closed_form, model
from training.measuring import errors, overlap, splits
from training.sample.sample_drive import BASE_CHECKPOINT

pytestmark = pytest.mark.slow
WHO = {"a1": "Anna", "b": "Ben", "a2": "Anna", "c": "Cem", "d1": "Dea", "d2": "Dea"}
SIZE = (238, 268)


def film(folder: Path, name: str, seed: int) -> None:
    """A video of 24 pictures of a drawn face, two a second, and its labels."""
    track = drives.gaze_track(24, 2.0, seed)
    skin = tuple(int(part) for part in np.random.default_rng(seed).integers(110, 230, 3))
    with av.open(str(folder / f"{name}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"preset": "ultrafast"})
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        for gaze in track:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(drives.face(gaze, SIZE, skin=skin), format="bgr24")))
        container.mux(stream.encode())
    rows = "".join(f"{k},{azimuth:.3f},{elevation:.3f}\n" for k, (azimuth, elevation) in enumerate(track))
    (folder / f"{name}.csv").write_text("dash_frames,azimuth [deg],elevation [deg]\n" + rows)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The list; its drives lie beside it."""
    folder = tmp_path_factory.mktemp("drives")
    rows = ["video,labels,driver"]
    for seed, (name, driver) in enumerate(WHO.items()):
        film(folder, name, seed)
        rows.append(f"{name}.mp4,{name}.csv,{driver}")
    path = folder / "drives.csv"
    path.write_text("\n".join(rows))
    return path


def by_hand(folders: tuple[Path, ...], of_drive: list[str], faces: tuple) -> dict[str, float]:
    """3-D error of each driver: the base's pooled features by torch alone, a ridge on everybody else's."""
    data = prepared.load(folders).cut_to(faces)
    pictures = np.concatenate(list(data.iterate_pictures(64)))
    network = model.load(BASE_CHECKPOINT).eval()
    head, network.fc = network.fc, torch.nn.Identity()
    with torch.inference_mode():
        inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        pooled = torch.cat([network(part) for part in inputs.split(24)]).double().numpy()
    assert head[0].in_features == pooled.shape[1]
    driver = np.array(of_drive)[data.drive_index]
    found = {}
    for name in dict.fromkeys(of_drive):
        others = driver != name
        number = np.unique(driver[others], return_inverse=True)[1]
        # Drives are of one length here, so that nothing has to be balanced; a penalty is chosen over drivers.
        solved = closed_form.solve("ridge", pooled[others], data.targets[others], number)
        answers = pitch_yaw_to_deg(solved.predict(pooled[~others]))
        found[name] = float(errors.per_sample(answers, data.labels_deg[~others])[:, 2].mean())
    return found


def test_six_drives_of_four_drivers_are_left_out_in_turn_registered_and_gated(
    tracking, listed, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(processors, "cores", lambda: 1)  # one drive after the other, in this process
    # Of twelve samples a drive the penalty is chosen by a hair's breadth, and another one in bfloat16.
    monkeypatch.setenv("GAZE_BFLOAT16", "off")
    arguments = ["--drives", str(listed), "--layout", "driver", "--samples", "12", "--trials", "1", "--bn", "source"]
    arguments += [
        "--freeze",
        "backbone",
        "--epochs_min",
        "1",
        "--epochs_max",
        "1",
        "--lr_min",
        "1e-6",
        "--lr_max",
        "1e-6",
    ]
    assert cli.main(["main", *arguments]) == 0
    said = capsys.readouterr().out
    (run,) = mlflow.search_runs(
        search_all_experiments=True, output_format="list", filter_string="metrics.`test/samples` > 0"
    )

    # One table of what came out, a row a drive.
    table = mlflow.load_table("tables/drives.json", run_ids=[run.info.run_id])
    assert table["drive"].tolist() == list(WHO)
    assert table["driver"].tolist() == list(WHO.values())
    assert table["samples"].tolist() == [12] * 6
    assert "a1   Anna" in said

    # Whole drivers are held out: the last one tests, whatever the names of the drives.
    (version,) = versions.every("gaze-tracker")
    opened = comparison.open_package(version, tmp_path / "opened")
    kept, stated = opened.holdout, opened.contract
    assert (stated.errors.split, stated.errors.leaking, stated.errors.samples) == ("by-driver", False, 24)
    assert [(one.driver, (kept.source == k).sum()) for k, one in enumerate(kept.sources)] == [("Dea", 12), ("Dea", 12)]
    assert len(kept.elsewhere) == 4 and not len(kept.trained_frames)

    # Everybody's error, of a model that has not seen them, is what comes out by hand.
    folders = tuple(sorted((tmp_path / "data" / "prepared").iterdir(), key=lambda path: path.name))
    data = prepared.load(folders)
    names = [drive.name for drive in data.drives]
    faces = data.faces if all(data.faces) else (None,) * len(names)
    expected = by_hand(folders, [WHO[name] for name in names], faces)
    rows = {one.name: one for one in stated.unseen_driver.drivers}
    assert {name: one.errors.angular_error_deg for name, one in rows.items()} == pytest.approx(expected, abs=0.15)
    assert [rows[name].samples for name in ("Anna", "Ben", "Cem", "Dea")] == [24, 12, 12, 24]
    mean = float(np.mean(list(expected.values())))
    assert run.data.metrics["unseen_driver/angular_error_deg"] == pytest.approx(mean, abs=0.15)
    # Four drivers are too few for an interval; the worst is named.
    assert stated.unseen_driver.low_deg is None
    assert "[too few to tell: 4 of 5 drivers]" in said
    assert f"worst driver: {max(expected, key=expected.__getitem__)}, " in said
    assert "from a driver's first 20 frames" in said
    artifacts = [one.path for one in mlflow.MlflowClient().list_artifacts(run.info.run_id, "figures")]
    assert "figures/drivers.png" in artifacts

    # The gate: what the last lines said of the version, and drivers beside a champion.
    failed = [check for check in gate.on_its_own(opened, gate.configure()) if not check.passed]
    assert ("NOT GOOD ENOUGH" in said) == bool(failed)
    assert all(check.describe() in said for check in failed)
    base = comparison.open_package(versions.every("gaze-tracker-base")[0], tmp_path / "base")
    checks = gate.against(opened, base, gate.configure(), "champion v1", required=True)
    assert any(check.name.endswith("worst driver (Dea)") for check in checks)

    # `evaluate` on the same list: only Dea is new to the version.
    assert cli.main(["evaluate", "--model", "models:/gaze-tracker/1", *arguments[:6]]) == 0
    said = capsys.readouterr().out
    assert "24 held-out of 72 samples" in said
    assert "mean over 1 drivers" in said
    assert "worst driver: Dea" in said


BAD = {
    "video,labels,driver\na1.mp4,a1.csv,Anna\nb.mp4,b.csv,anna\n": "look like one person in two spellings",
    "video,labels,driver\na1.mp4,a1.csv,Anna\nb.mp4,gone.csv,Ben\n": r"not there: line 3: .*gone\.csv",
    "video,labels,driver\n": "lists no drives",
    "video,labels,driver,car\na1.mp4,a1.csv,Anna,1\n": "column 'car' is unknown",
    "video,labels,driver\na1.mp4,a1.csv,Anna\nb.mp4,b.csv,Ben\n": "by-driver: 2 drivers given, at least 3",
    "video,labels,driver\na1.mp4,a1.csv,Anna\na2.mp4,a2.csv,Anna\n": "by-drive: 2 drives given, at least 3",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_list_is_one_line_before_anything_is_computed(tracking, listed, monkeypatch, text):
    (listed.parent / "bad.csv").write_text(text)
    monkeypatch.setattr("recording.fleet.prepare_one", lambda task: pytest.fail("something was prepared"))
    with pytest.raises(InputError, match=BAD[text]) as error:
        cli.main(["main", "--drives", str(listed.parent / "bad.csv")])
    assert "\n" not in str(error.value)
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", str(error.value))


def test_one_driver_only_is_refused_for_by_driver_and_split_by_drive_otherwise(listed, tmp_path):
    one = listed.parent / "one.csv"
    rows = (f"{name}.mp4,{name}.csv,Anna" for name in WHO)
    one.write_text("video,labels,driver\n" + "\n".join(rows))
    config = JobConfig(drives=str(one), split="by-driver", work=str(tmp_path))
    with pytest.raises(InputError, match="by-driver: 1 driver given, at least 3 are needed"):
        job.prepare_data(config)
    with pytest.raises(InputError, match="split=blocks: 6 drives were given; use split=by-drive or"):
        job.prepare_data(replace(config, split="blocks"))
    entries = drive_list.read(one)
    assert splits.chosen("auto", len(entries), len(drive_list.drivers(entries)), listed=True) == "by-drive"


def test_a_bad_drive_is_left_out_and_said_or_stops_the_job(tracking, listed, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(processors, "cores", lambda: 1)
    film(listed.parent, "torn", 9)
    (listed.parent / "torn.mp4").write_bytes((listed.parent / "torn.mp4").read_bytes()[:500])
    path = listed.parent / "torn.csv.list"
    path.write_text(listed.read_text() + "\ntorn.mp4,torn.csv,Ed\n")
    settings = {"drives": str(path), "layout": "driver", "samples": 6, "work": str(tmp_path), "face": "none"}
    with pytest.raises(InputError, match=r"drive 'torn' \(line 8 of the list\): .*on_bad_drive=skip goes on without"):
        job.prepare_data(JobConfig(**settings))
    with mlflow.start_run() as run:
        data = job.prepare_data(JobConfig(**settings, on_bad_drive="skip"))
    # The table is of the list as it was read, whatever becomes of it while drives are prepared.
    path.unlink()
    assert fleet.table(data)["labels"].tolist() == [""] * 6 + ["BAD DRIVE, left out"]
    assert [drive.name for drive in data.drives] == list(WHO)
    assert data.drivers == ("Anna", "Ben", "Cem", "Dea")
    assert "1 of 7 drives are left out: torn" in caplog.text
    assert mlflow.get_run(run.info.run_id).data.tags["drives_left_out"].startswith("torn: ")


def test_folds_of_a_list_without_drivers_to_leave_out_are_refused_before_anything_is_prepared(listed, tmp_path):
    one = listed.parent / "one.csv"
    one.write_text("".join(listed.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match="folds=2: acts with split=by-driver, and this is split=blocks"):
        job.prepare_data(JobConfig(drives=str(one), folds=2, work=str(tmp_path / "work")))
    assert not (tmp_path / "work").exists()


def test_drives_of_different_length_count_alike():
    """What a trial is told: of the small drive every sample is drawn more often."""
    data = SimpleNamespace(drive_index=np.array([0, 0, 0, 1]), driver_index=np.array([0, 0, 0, 1]))
    made = SimpleNamespace(split=SimpleNamespace(name="by-driver"), recordings=data)
    assert Job.share(made, np.arange(4)).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    made.split.name = "by-drive"
    assert Job.share(made, np.arange(4)) is None


def test_the_same_recording_of_two_drivers_is_refused(tmp_path):
    folder = drives.prepared_folder(tmp_path / "one", n=20)
    listed = tmp_path / "twice.csv"
    (tmp_path / "copy").symlink_to(folder)
    listed.write_text("data,driver,name\none,A,a\ncopy,B,b\n")
    with pytest.raises(InputError, match=r"lines 2 and 3 name the same .*one of 'A' and of 'B'"):
        drive_list.read(listed)
    # A copy under other names is known by what it shows, even where both drives train.
    (tmp_path / "copy").unlink()
    drives.prepared_folder(tmp_path / "copy", n=20)
    others = [drives.prepared_folder(tmp_path / f"other{seed}", n=20, seed=seed) for seed in (1, 2)]
    listed.write_text("data,driver\none,A\ncopy,B\n" + "".join(f"{path.name},{path.name}\n" for path in others))
    data = job.prepare_data(JobConfig(drives=str(listed), work=str(tmp_path), face="none"))
    split = job.split_of(JobConfig(drives=str(listed)), data)
    assert {"A", "B"} <= {data.drivers[k] for k in np.unique(data.driver_index[split.train])}
    with pytest.raises(InputError, match=r"one \(driver A\) and .*copy \(driver B\) show the same recording"):
        overlap.check(data, split)


def test_the_table_names_a_driver_with_other_signs():
    rng = np.random.default_rng(0)
    labels = rng.uniform([-20, -15], [20, 15], (120, 2))
    drive_index = np.repeat(np.arange(3), 40)
    base = labels.copy()
    base[drive_index == 1, 0] *= -1
    base[drive_index == 2, 1] -= 14
    samples = [SimpleNamespace(name=n, driver=n.upper(), table=range(40), folder=Path("/nowhere")) for n in "abc"]
    entries = tuple(drive_list.Entry(2, name, name.upper()) for name in "abcz")
    data = SimpleNamespace(
        drives=samples, listed=entries, drive_index=drive_index, labels_deg=labels, faces=(None,) * 3
    )
    table = fleet.table(data, base).set_index("drive")
    assert table.loc["a", "labels"] == "as the others"
    assert "azimuth looks FLIPPED" in table.loc["b", "labels"]
    assert table.loc["c", "labels"].startswith("ELEVATION SHIFTED 14° FROM THE OTHERS")
    assert table.loc["z", "labels"] == "BAD DRIVE, left out"
    assert table.loc["z", "driver"] == "Z"
