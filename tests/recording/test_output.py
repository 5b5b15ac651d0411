"""A command whose reader goes away (``| head``) goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import logging, sys
from pathlib import Path
from tqdm import tqdm
from recording.output import outlive_readers
outlive_readers()
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
input()  # until nobody reads any more
for _ in tqdm(range(20000), mininterval=0):
    print("a line that nobody reads")
logging.info("nor this")
Path(sys.argv[1]).write_text("through")
"""


@pytest.mark.parametrize("streams", [{"stdout"}, {"stdout", "stderr"}])
def test_a_command_outlives_whoever_reads_it(streams, tmp_path):
    both = {"stderr": subprocess.STDOUT if "stderr" in streams else subprocess.DEVNULL}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path / "end")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **both,
    )
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(60) == 0
    assert (tmp_path / "end").read_text() == "through"


# The number of a closed stream goes to the next file that is opened: what a library printed past Python landed there.
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_streams_are_closed_goes_on_and_spoils_no_file(closed, tmp_path):
    code = (
        "import logging, os, subprocess, sys; from pathlib import Path; from registry.command_line import leave\n"
        "def main(argv):\n"
        "    with Path('kept').open('wb') as kept:\n"
        "        kept.write(b'whole'); os.write(2, b'from a library'); print('told', file=sys.stderr)\n"
        "        assert not sys.stderr.isatty(); logging.basicConfig(stream=sys.stderr); logging.error('logged')\n"
        "        subprocess.run(['sh', '-c', 'echo from another >&2'], check=True)\n"
        "    return 0\n"
        "leave(main)\n"
    )
    command = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "kept").read_bytes() == b"whole"


# A version was promoted, and the command said so with a traceback.
@pytest.mark.parametrize(
    "told",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_command_prints_what_the_encoding_of_its_reader_does_not_know(told, tmp_path):
    code = (
        "import logging, sys; from registry.command_line import leave\n"
        "from recording.exceptions import InputError\n"
        "def main(argv):\n"
        "    print('\\u2265 20, 4.3\\xb0'); logging.basicConfig(stream=sys.stderr); logging.error('v1 \\u2192 v2')\n"
        "    raise InputError('\\u2265 20: refused')\n"
        "leave(main)\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env | told | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 2
    degrees = b"\xb0" if told.get("PYTHONIOENCODING") == "latin-1" else rb"\xb0"
    assert done.stdout.splitlines() == [rb"\u2265 20, 4.3" + degrees]
    assert done.stderr.splitlines() == [rb"ERROR:root:v1 \u2192 v2", rb"error: \u2265 20: refused"]
