"""The search for garbage rests while a command imports what it needs, and is on before anything begins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("room", "words"),
    [("training", ["main"]), ("training", ["evaluate", "--model", "models:/m/1"]), ("registry", ["list"])],
)
def test_a_command_begins_with_it_on_and_its_temporary_folders_are_gone_at_the_end(
    room: str, words: list[str], tmp_path: Path
) -> None:
    code = f"""if True:
        import atexit, gc, sys, tempfile
        from functools import partial
        from {room}.__main__ import main
        from registry.command_line import leave

        kept = tempfile.TemporaryDirectory()
        seen, made = set(), []
        searched = lambda phase, _: seen.add("mlflow" in sys.modules)

        class Told:
            def allow(self):
                print(gc.isenabled(), gc.get_freeze_count() > 100_000, True in seen, kept.name)
                made.extend([] for _ in range(5000))  # while it works
                raise KeyboardInterrupt

        gc.callbacks.append(searched)
        atexit.register(lambda: print(len(gc.get_objects()) < 1000))
        leave(partial(main, Told()), {words!r})
    """
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/none.db", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    enabled, left_alone, searched, folder, found_at_the_end = done.stdout.split()
    assert (enabled, left_alone, searched) == ("True", "True", "False")
    assert found_at_the_end == "True", "all would be searched once more"
    assert not Path(folder).exists()
