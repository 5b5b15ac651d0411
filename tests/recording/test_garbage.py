"""The search for garbage rests while modules come, and is on again afterwards, whatever happens."""

import gc
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from recording import garbage


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_it_is_off_inside_and_on_afterwards() -> None:
    with garbage.while_importing():
        assert not gc.isenabled()
        with garbage.while_importing():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    for ended in (KeyboardInterrupt, ImportError):
        with pytest.raises(ended), garbage.while_importing():
            raise ended
        assert gc.isenabled()


def test_only_what_came_with_modules_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.unfreeze()
    with garbage.while_importing():
        pass
    assert gc.get_freeze_count() == 0, "garbage of a process that has everything would stay for good"
    with garbage.while_importing():
        for number in range(60):
            monkeypatch.setitem(sys.modules, f"came_{number}", types.ModuleType(f"came_{number}"))
    assert gc.get_freeze_count() > 1000


def test_a_command_begins_with_it_on_and_its_temporary_folders_are_gone_at_the_end() -> None:
    code = """if True:
        import gc, tempfile
        from registry.command_line import leave
        from training import cli
        kept = tempfile.TemporaryDirectory()
        def begin():
            print(gc.isenabled(), gc.get_freeze_count() > 100_000, kept.name)
            raise KeyboardInterrupt
        leave(lambda argv: cli.main(["main"], ready=begin))
    """
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    enabled, frozen, folder = done.stdout.split()
    assert (enabled, frozen) == ("True", "True")
    assert not Path(folder).exists()
