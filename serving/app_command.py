"""``python -m serving app``: Streamlit with the app's file and options."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from recording.exceptions import InputError
from recording.files import is_folder, with_home
from registry.addresses import DEFAULT_MODEL_NAME
from serving import cache


def main(argv: list[str]) -> NoReturn:
    """Become the app, until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m serving app", description="The Ground Truth Comparison app.")
    parser.add_argument(
        "--data", type=with_home, default="", help="prepared folder to open with (the newest under data/prepared)"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL_NAME, help="registered model (%(default)s)")
    parser.add_argument("--stage", default="Production", help="stage that the app follows (%(default)s)")
    parser.add_argument(
        "--cache", type=with_home, default="", help="where copies of versions are kept ($XDG_CACHE_HOME/gaze-serving)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8501, help="port to listen on (%(default)s)")
    given = parser.parse_args(argv)
    if given.data and not is_folder(Path(given.data)):
        raise InputError(f"--data {given.data}: no such folder; make one with python -m training prepare")
    # No temporary folder as for the others: this process becomes another program, and nobody would take it away.
    cache.check(given.cache)
    given.data = given.data or newest_prepared(Path("data/prepared"))
    sys.stdout.flush()
    # In place of this process, not beside it: who ends this one by a signal ends Streamlit.
    os.execve(sys.executable, command(given), environment())


def newest_prepared(within: Path) -> str:
    """The folder that was prepared last, where the main job puts them; empty where there is none."""
    notes = sorted(within.glob("*/drive.json"), key=lambda path: path.stat().st_mtime)
    return str(notes[-1].parent) if notes else ""


def command(given: argparse.Namespace) -> list[str]:
    """The Streamlit command line for the app's options."""
    own = {"data": given.data and str(Path(given.data).resolve()), "model": given.model, "stage": given.stage}
    own["cache"] = given.cache
    return [
        *(sys.executable, "-m", "streamlit", "run", str(Path(__file__).with_name("app.py"))),
        *("--server.address", given.host, "--server.port", str(given.port)),
        *("--server.headless", "true", "--browser.gatherUsageStats", "false"),
        *("--server.fileWatcherType", "none", "--client.toolbarMode", "minimal"),
        *("--theme.light.primaryColor", "#0072B2", "--theme.dark.primaryColor", "#56B4E9"),
        "--",
        *(part for name, value in own.items() if value for part in (f"--{name}", value)),
    ]


def environment() -> dict[str, str]:
    """The environment of the app: a registry that is down must not hold a page for minutes."""
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
    return patience | {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"} | os.environ
