"""A load generator of the standard library alone: ``python -m benchmarks.client PLAN.json``.

The plan is one JSON object: ``host``, ``port``, ``path``, ``content_type``, ``bodies`` (files), ``connections``,
``seconds``, ``answers`` (the file to write) and ``stop`` (a file). Every connection sends one body after another for
that many seconds, and after them until the file ``stop`` is there. It keeps what came back, one JSON line a request:
when it was sent (Unix time), how long it took (seconds), which body, status (0 for a broken connection), and the
answer's text. It knows nothing of gaze and imports nothing heavy, because it runs on the cores of the server that it
measures.
"""

import json
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

TIMEOUT_S = 60


def main(plan_file: str) -> None:
    """Run the plan and write the answers."""
    plan = json.loads(Path(plan_file).read_text())
    bodies = [Path(name).read_bytes() for name in plan["bodies"]]
    lines: list[str] = []
    threads = [
        threading.Thread(target=_connection, args=(plan, bodies, first, lines)) for first in range(plan["connections"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Path(plan["answers"]).write_text("".join(lines))


def _connection(plan: dict[str, Any], bodies: list[bytes], first: int, lines: list[str]) -> None:
    end = time.monotonic() + plan["seconds"]
    headers = {"Content-Type": plan["content_type"]}
    connection = HTTPConnection(plan["host"], plan["port"], timeout=TIMEOUT_S)
    number = first
    while time.monotonic() < end or not Path(plan["stop"]).exists():
        which = number % len(bodies)
        number += plan["connections"]
        sent, began = time.time(), time.monotonic()
        try:
            connection.request("POST", plan["path"], bodies[which], headers)
            response = connection.getresponse()
            status, text = response.status, response.read().decode()
        except (OSError, HTTPException) as error:
            status, text = 0, repr(error)
            connection.close()
        lines.append(json.dumps([sent, time.monotonic() - began, which, status, text]) + "\n")
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
