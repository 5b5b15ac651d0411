"""A command whose reader goes away (``| head``) goes on."""

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
