"""MLflow runs whose process is gone: none of them says RUNNING for ever."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow

from recording.exceptions import InputError
from registry.project import end_run as end_run  # by this name for the rest of training


@contextmanager
def alone(folder: Path, run_id: str, tag: str, key: str, doing: str) -> Iterator[None]:
    """Work in ``folder``, which no other process may meanwhile, on a run that is tagged ``tag=key``.

    Runs of the same tag that a kill left RUNNING are ended: their process would hold the folder. Raises
    :class:`InputError` where another process does; ``doing`` says what it is at.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{tag}: another process {doing}; wait for it") from None
        client = mlflow.MlflowClient()
        experiment = client.get_run(run_id).info.experiment_id
        for left in client.search_runs([experiment], f"attributes.status = 'RUNNING' and tags.{tag} = '{key}'"):
            end_run(left.info.run_id, "KILLED", f"cut off by a kill of the {tag}")
        client.set_tag(run_id, tag, key)
        yield
