"""MLflow runs whose process is gone: none of them says RUNNING for ever."""

import mlflow
from mlflow.entities import RunStatus


def end_run(run_id: str | None, status: str, why: str) -> None:
    """End an MLflow run that still says RUNNING because its process is gone; ``why`` becomes its tag ``ended``."""
    if run_id is None:
        return
    client = mlflow.MlflowClient()
    if RunStatus.from_string(client.get_run(run_id).info.status) == RunStatus.RUNNING:
        client.set_tag(run_id, "ended", why[:4000])
        client.set_terminated(run_id, status)
