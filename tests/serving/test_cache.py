"""Where copies of versions are kept, and what is said where nothing can be written there."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import disks
import packages
import pytest

from recording import files
from recording.exceptions import InputError, RegistryError
from registry.addresses import Selector
from serving import __main__ as command
from serving import cache, predict, server
from serving.follower import Follower
from serving.loader import Loader
from serving.metrics import Metrics


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disks.small(tmp_path / "disk", "64k") as disk:
        yield disk


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "frame_driver.jpg"
    path.write_bytes(packages.picture(0, 0))
    return str(path)


def no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> tuple[list[str], str]:
    """Options with which no folder can be made, and what is said of it; ``where`` somebody named it."""
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if where == "XDG_CACHE_HOME":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        return [], f"the cache folder {tmp_path}/file/gaze-serving cannot be made (Not a directory); give --cache or "
    if where == "a link":
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        return ["--cache", str(tmp_path / "link")], f"the cache folder {tmp_path}/link cannot be made ({tmp_path}/link "
    if where == "/proc":
        return ["--cache", "/proc/x"], "the cache folder /proc/x cannot be made (No such file or directory); give "
    return ["--cache", str(tmp_path / "file")], f"the cache folder {tmp_path}/file cannot be made (it is a file); give "


@pytest.mark.parametrize("where", ["XDG_CACHE_HOME", "a link", "a file", "/proc"])
@pytest.mark.parametrize("program", ["serve", "predict", "app"])
def test_a_folder_that_was_named_and_cannot_be_made_is_one_line_at_the_start(
    where: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: str
) -> None:
    options, says = no_place(tmp_path, monkeypatch, where)
    monkeypatch.setattr(server, "_run_alone", lambda *_: pytest.fail("started"))
    with pytest.raises(InputError) as refused:
        command.main([program, *options, *([picture] if program == "predict" else [])])
    assert str(refused.value).startswith(says)
    assert "--cache or XDG_CACHE_HOME" in str(refused.value)


# A container that is read-only, or runs under a number without a home.
@pytest.mark.parametrize("home", ["/proc/x", ""])
def test_without_a_home_copies_are_kept_for_a_while_and_that_is_said(
    home: str,
    make_version: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    picture: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_version()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    if not home:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("os.getuid", lambda: 1_234_567)
    kept: list[Path] = []
    monkeypatch.setattr(predict, "Loader", lambda selector, copies: kept.append(copies) or Loader(selector, copies))
    assert predict.main([picture, "--version", "1"]) == 0
    assert '"version": 1' in capsys.readouterr().out
    (said,) = [record.getMessage() for record in caplog.records if record.name == "serving.cache"]
    assert "give --cache or XDG_CACHE_HOME" in said and f"kept in {kept[0]}" in said
    assert not kept[0].exists()


def test_a_server_without_a_home_has_one_folder_for_all_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/x")
    monkeypatch.setenv(server.SETTINGS, "")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # which several workers set
    seen: list[Path] = []

    def run(options: dict[str, object]) -> int:
        seen.append(Path(server.Settings.from_json(server.os.environ[server.SETTINGS]).cache))
        assert seen[0].is_dir()
        return 0

    monkeypatch.setattr(server, "_run_workers", run)
    assert server.run(server.Settings(workers=2)) == 0
    assert not seen[0].exists()


def test_the_folder_is_the_users_own_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with cache.opened() as place:
        assert place == tmp_path / ".cache/gaze-serving"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.check() == tmp_path / "xdg/gaze-serving"
    assert cache.check(str(tmp_path / "a/b")) == tmp_path / "a/b"
    assert (tmp_path / "a/b").is_dir() and place.is_dir()


LOADING = """
import logging, sys
from pathlib import Path
from recording.exceptions import GazeError
from registry.addresses import Selector
from serving import cache
from serving.loader import Loader
logging.basicConfig(stream=sys.stdout, format="%(name)s %(message)s")
loader = Loader(Selector(version=int(sys.argv[2])), cache.check(sys.argv[1]))
try:
    print("answers", loader.load(loader.find()).version, loader.last_good() is not None)
except GazeError as error:
    print("refused", error)
"""


# A copy that was baked into an image, say; another version than the one in it has no place to go.
def test_a_whole_copy_in_a_folder_that_cannot_be_written_to_is_loaded(
    make_version: Callable[..., int], tmp_path: Path, as_anybody: Callable[..., str]
) -> None:
    folder = tmp_path / "cache"
    for number in (make_version(), make_version()):
        if number == 1:
            loader = Loader(Selector(version=1), folder)
            loader.load(loader.find())
    (note,) = folder.glob("*/last-*.json")
    note.unlink()
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(0o555)
    try:
        first, second = (as_anybody(LOADING, str(folder), number) for number in "12")
    finally:
        for place in places:
            place.chmod(0o755)
    warned = f"serving.cache the cache folder {folder} cannot be written to (Permission denied): only versions of which"
    assert first.startswith(warned) and second.startswith(warned)
    assert "answers 1 False" in first and f"{note} cannot be written" in first
    assert "refused cannot write gaze-tracker version 2 into the cache folder" in second
    assert "(Permission denied); give --cache or XDG_CACHE_HOME" in second


def test_a_full_disk_of_the_cache_is_not_the_registrys_fault(
    make_version: Callable[..., int], small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_version()
    follower = Follower(Loader(Selector(version=1), small_disk), poll=1.0, metrics=Metrics())
    follower.check()
    full = f"disk full: cannot write gaze-tracker version 1 into the cache folder {small_disk}; free some disk space"
    assert full in follower.standing.problem
    assert "--cache" in follower.standing.problem
    assert "Traceback" not in caplog.text
    assert [path.name for path in small_disk.rglob("*") if not path.is_dir()] == []


def test_a_whole_copy_on_a_disk_that_is_full_is_loaded(
    make_version: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_version()
    loader = Loader(Selector(version=1), tmp_path / "cache")
    loader.load(found := loader.find())
    (note,) = (tmp_path / "cache").glob("*/last-*.json")
    assert loader.load(found).version == 1
    note.write_text("{}")

    def full(*_: object) -> None:
        raise files.DiskFull("disk full")

    monkeypatch.setattr(files, "write_text", full)
    with caplog.at_level(logging.WARNING):
        assert loader.load(found).version == 1
    assert f"{note} cannot be written" in caplog.text


def test_what_the_registry_cannot_read_stays_its_fault(make_version: Callable[..., int], tmp_path: Path) -> None:
    make_version()
    loader = Loader(Selector(version=1), tmp_path / "cache")
    found = loader.find()
    for stored in (tmp_path / "mlruns").rglob("model.onnx"):
        stored.unlink()
        stored.mkdir()
    with pytest.raises(RegistryError):
        loader.load(found)
