"""``make cluster-demo``: the main job on a Ray cluster, all of it on this machine, and everything stopped afterwards.

PostgreSQL keeps the study and MLflow's records, an MLflow server takes what trials say, two Ray nodes run four trials
at once, and three small rendered drives of three drivers are prepared, searched on and measured by driver. What is
written lies in ``data/cluster-demo``.
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from recording.exceptions import GazeError, InputError
from registry.command_line import leave
from training.sample import sample_drive

FOLDER = Path("data/cluster-demo")
SECONDS = 24.0
"""Of each drive."""
SEARCH = ["--samples", "60", "--trials", "8", "--epochs_min", "1", "--epochs_max", "3", "--freeze", "backbone,layer3"]
PATIENCE_S = 180.0
NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 200 * 2**20}


def main(argv: list[str] | None = None) -> int:
    """Start everything, run the job, stop everything; the job's exit status."""
    programs = _postgres_programs()
    if importlib.util.find_spec("ray") is None:
        raise InputError("Ray is not installed; pip install -r requirements/cluster.txt")
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.environ["PYTHONPATH"] = str(Path.cwd())
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        listed = _drives()
        study, store = _postgres(stack, programs)
        os.environ["MLFLOW_TRACKING_URI"] = _mlflow(stack, store)
        address = _ray(stack)
        print(f"\nRay: {address}; MLflow: {os.environ['MLFLOW_TRACKING_URI']}; study: {study}\n", flush=True)
        command = [sys.executable, "-m", "training", "main", "--drives", str(listed), *SEARCH, "--workers", "4"]
        command += ["--cluster", address, "--storage", study, "--work", str(FOLDER / "work")]
        job = subprocess.Popen(command)
        stack.callback(_end, job)
        return job.wait()
    return 130


def _drives() -> Path:
    rows = ["video,labels,driver"]
    for number, driver in enumerate(("Anna", "Ben", "Carla")):
        video, labels = sample_drive.render(FOLDER / "drives", number, SECONDS)
        rows.append(f"{video.relative_to(FOLDER)},{labels.relative_to(FOLDER)},{driver}")
    listed = FOLDER / "drives.csv"
    listed.write_text("\n".join(rows) + "\n")
    return listed


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if initdb is None:
        raise InputError(
            "PostgreSQL's programs (initdb, pg_ctl) are not here; install them: apt-get install postgresql"
        )
    return Path(initdb).parent


def _postgres(stack: contextlib.ExitStack, programs: Path) -> tuple[str, str]:
    """Addresses of two empty databases, for the study and for MLflow, of a server of our own."""
    folder, port = Path(tempfile.mkdtemp(prefix="cluster-demo-")), _free_port()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    as_user: list[str] = []
    if os.getuid() == 0:  # as whom PostgreSQL does not run
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs / program), *arguments]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    data, server = ("-D", f"{folder}/data"), ("-h", "127.0.0.1", "-p", str(port), "-U", "gaze")
    run("initdb", *data, "-U", "gaze", "--auth=trust", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    run("pg_ctl", *data, "-w", "-l", f"{folder}/log", "-o", options, "start")
    stack.callback(run, "pg_ctl", *data, "-w", "-m", "fast", "stop")
    for name in ("study", "mlflow"):
        run("createdb", *server, name)
    address = f"postgresql+psycopg2://gaze@127.0.0.1:{port}"
    return f"{address}/study", f"{address}/mlflow"


def _mlflow(stack: contextlib.ExitStack, store: str) -> str:
    """Address of an MLflow server that answers."""
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str((FOLDER / "artifacts").absolute())]
    log = stack.enter_context((FOLDER / "mlflow.log").open("wb"))
    server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    stack.callback(_end, server)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return address
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > deadline:
                raise GazeError(f"MLflow's server does not answer; see {log.name}") from None
            time.sleep(0.5)


def _ray(stack: contextlib.ExitStack) -> str:
    """Address of a cluster of two nodes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    stack.callback(cluster.shutdown)
    cluster.add_node(**NODE)
    return str(cluster.address)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    leave(main)
