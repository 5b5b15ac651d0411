"""Being told to end: by a signal, twice, too early, or by the end of ``mlflow run``."""

import os
import shlex
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from registry import interruption
from training import interruption as of_training

BODY = """
import os, signal, sys, time
from registry.project import follow_starter
from training.interruption import handler
handler = handler()
handler.install()
follow_starter()
print("installed", os.getpid(), flush=True)
{before}
try:
    handler.allow()
    print("allowed", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)  # ignored: it is ending already
    time.sleep(0.2)
    print("in order", flush=True)
"""


def _as_at_a_terminal() -> None:
    """Whoever runs the tests in the background has switched these off, which children inherit."""
    for number in interruption.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def started(before: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", BODY.format(before=before)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_as_at_a_terminal,
    )


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_every_signal_ends_the_command_in_order_and_a_second_one_does_not_cut_that_off(number):
    with started() as process:
        assert process.stdout.readline().startswith("installed")
        assert process.stdout.readline() == "allowed\n"
        process.send_signal(number)
        assert process.stdout.read() == "in order\n"
        assert process.wait(60) == 0


def test_a_signal_while_modules_are_imported_is_kept_for_later():
    with started(before="os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.2)") as process:
        assert process.stdout.read().splitlines()[1:] == ["in order"]
        assert process.wait(60) == 0


def test_a_signal_that_was_switched_off_stays_off(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    kept = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    try:
        of_training.handler().install()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGHUP, before)


def test_a_command_whose_starter_died_at_once_knows_that_it_is_an_orphan():
    """MLflow is killed while Python starts: there is nobody left to be followed."""
    code = "from registry import project; print(project.is_orphan())"
    late = f"(sleep 0.5; {shlex.quote(sys.executable)} -c '{code}') &"
    for command, orphaned in ((late, "True\n"), (f"{shlex.quote(sys.executable)} -c '{code}'; true", "False\n")):
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True, env=env) as process:
            assert process.stdout.read() == orphaned


def test_a_command_of_mlflow_run_ends_when_mlflow_is_gone(tmp_path):
    """As MLflow starts it: through a shell that stays between, without a word when MLflow is killed."""
    script = tmp_path / "command.py"
    script.write_text(BODY.format(before=""))
    starter = (
        "import subprocess, sys; subprocess.run(['bash', '-c', sys.argv[1]])",
        f"true && {shlex.quote(sys.executable)} {shlex.quote(str(script))}; true",
    )
    environment = os.environ | {"MLFLOW_RUN_ID": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", *starter], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        command = psutil.Process(int(process.stdout.readline().split()[1]))
        assert process.stdout.readline() == "allowed\n"
        process.kill()
        process.wait()
        assert process.stdout.read() == "in order\n"
        command.wait(60)


IN_A_TRANSACTION = """
import os, signal, time
import mlflow, optuna
from sqlalchemy import Engine, event
from training.interruption import handler as handler_of_training
from training.searching import trial

study = optuna.create_study(storage="sqlite:///study.db")
asked, client = study.ask(), mlflow.MlflowClient("sqlite:///mlflow.db")
run = client.create_run("0").info.run_id
optuna_writes = lambda key: asked.set_user_attr(key, 1)
mlflow_writes = lambda key: client.set_tag(run, key, 1)
blows = []
event.listen(Engine, "after_cursor_execute", lambda *_: blows and os.kill(os.getpid(), blows.pop()))

def work(write, number):
    blows.append(number)
    for _ in range(1000):
        write("struck")
        time.sleep(0.005)  # what else there is to do

def command(write):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    handler = handler_of_training()
    handler.install()
    handler.allow()
    work(write, signal.SIGINT)

def of_a_trial(write):
    trial.sqlite.be_patient = lambda: None  # SQLite's own patience, so that this test needs none
    trial._run = lambda *_: (signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}), work(write, signal.SIGTERM))
    trial.run(trial.TrialSpec.__new__(trial.TrialSpec), None)

for name, write in ("optuna", optuna_writes), ("mlflow", mlflow_writes):
    for body, exception in (command, KeyboardInterrupt), (of_a_trial, trial.Interrupted):
        try:
            body(write)
        except exception as error:  # its traceback keeps alive what was at work
            write("end")
            print(name, body.__name__, flush=True)
"""


def test_an_interruption_waits_for_a_database_and_leaves_nothing_locked(tmp_path):
    """Optuna and MLflow roll back for an Exception only: what is to be written about the end would wait for ever."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_TRANSACTION],
        capture_output=True,
        text=True,
        preexec_fn=_as_at_a_terminal,
        cwd=tmp_path,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    ended = [f"{store} {who}" for store in ("optuna", "mlflow") for who in ("command", "of_a_trial")]
    assert done.stdout.splitlines() == ended, done.stderr


def test_a_database_that_takes_for_ever_does_not_keep_an_interruption_off(monkeypatch):
    frame = SimpleNamespace(
        f_globals={"__name__": "sqlalchemy.engine.base"}, f_code=SimpleNamespace(co_name="execute"), f_back=None
    )
    interrupt, now, alarms = interruption.WhenFree(KeyError), [0.0], []
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(interruption.signal, "signal", lambda number, handler: alarms.append(handler))
    monkeypatch.setattr(interruption.signal, "setitimer", lambda *_: None)
    interrupt(frame)
    now[0] = 9.9
    alarms[-1](signal.SIGALRM, frame)
    now[0] = 10.1
    with pytest.raises(KeyError):
        alarms[-1](signal.SIGALRM, frame)
    assert len(alarms) == 2
