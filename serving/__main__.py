"""``python -m serving``: the server; ``predict`` and ``app`` beside it."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from functools import partial

from registry.interruption import Interruption

# Imported when chosen: the server is not to wait for what draws arrows, nor the other way round.
COMMANDS = {
    "serve": "answer pictures over HTTP, following the registry (the default)",
    "predict": "angles of images, folders and videos as JSON lines or CSV",
    "app": "the Ground Truth Comparison app in the browser",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command that ``argv`` names; 0 when it ends well."""
    words = sys.argv[1:] if argv is None else argv
    command, rest = (words[0], words[1:]) if words and words[0] in COMMANDS else ("serve", words)
    commands: dict[str, Callable[[list[str]], int]] = {
        "serve": serve,
        "predict": lambda rest: importlib.import_module("serving.predict").main(rest),
        "app": lambda rest: importlib.import_module("serving.app_command").main(rest),
    }
    return commands[command](rest)


def serve(argv: list[str]) -> int:
    """``python -m serving``: parse, check, and serve until told to stop."""
    from serving.selection import add_selector, selector

    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Answer gaze angles over HTTP with the version that the registry names, and follow promotions.",
        epilog="commands: " + "; ".join(f"{name}: {what}" for name, what in COMMANDS.items()) + ". The bearer token "
        "is read from the environment variable GAZE_SERVING_TOKEN.",
    )
    add_selector(parser)
    parser.add_argument(
        "--poll", type=float, default=5.0, help="seconds between questions to the registry (%(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="server processes (%(default)s)")
    parser.add_argument("--max-bytes", type=int, default=20 * 1024 * 1024, help="bytes of one request (%(default)s)")
    parser.add_argument("--max-pixels", type=int, default=25_000_000, help="pixels of one picture (%(default)s)")
    parser.add_argument(
        "--precision",
        default="auto",
        help="auto: bfloat16 where the processor has it and the version's own held-out samples come out the same, "
        "several times as fast; float32: always as registered (%(default)s)",
    )
    parser.add_argument("--token", action="store_true", help="refuse to start without GAZE_SERVING_TOKEN")
    given = parser.parse_args(argv)

    from recording.exceptions import InputError
    from serving import server
    from serving.limits import Limits

    if given.token and not os.environ.get(server.TOKEN):
        raise InputError(f"--token: the environment variable {server.TOKEN} is not set; put the token there")
    return server.run(
        server.Settings(
            selector=selector(given),
            limits=Limits(max_bytes=given.max_bytes, max_pixels=given.max_pixels),
            poll=given.poll,
            host=given.host,
            port=given.port,
            workers=given.workers,
            cache=given.cache,
            precision=given.precision,
        )
    )


def _run(interruption: Interruption, argv: list[str] | None) -> int:
    """The command line in a process of its own; the exit status."""
    interruption.allow()
    try:
        status = main(argv)
    except SystemExit as ended:  # argparse, or uvicorn: the port is taken, say
        if interruption.received:  # which uvicorn, before it serves, takes for a start that failed
            raise KeyboardInterrupt(interruption.first) from None
        status = int(ended.code or 0)
    follower = sys.modules.get("serving.follower")
    if follower is not None and follower.is_at_work():  # it did not stop in time, and Python cannot end it safely
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    begun = Interruption()
    begun.install()  # before anything else is imported: Ctrl-C ends it without a traceback from here on
    from registry.command_line import leave

    leave(partial(_run, begun), early=begun)
