"""A real Chromium, and servers with pages to look at."""

import gc
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from e2e.commands import Place

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """The browser of this machine; the test is skipped where there is none, but never on CI."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is not installed; .ci/run installs it")
        pytest.skip("no Chromium on this machine (apt install chromium)")
    return found


@contextmanager
def started() -> Iterator["Browser"]:
    """Chromium, for the pages of a module."""
    path = executable()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
    # Its greenlets end here, not in whatever runs when they are collected: in the middle of a parse Python 3.11 says
    # "AST constructor recursion depth mismatch" then.
    gc.collect()


@contextmanager
def page(browser: "Browser") -> Iterator["Page"]:
    """A page that knows nothing of the ones before; errors of waiting name the text that did not come."""
    with browser.new_context(viewport={"width": 1400, "height": 1000}) as context:
        context.set_default_timeout(180_000)
        yield context.new_page()


@contextmanager
def running(place: Place, *command: str, health: str) -> Iterator[str]:
    """``python -m … --port N``; yields its address once ``health`` answers."""
    port = free_port()
    process = place.start("-m", *command, "--port", str(port))
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not answers(address + health):
            assert process.poll() is None, (place.folder / "started.log").read_text()[-3000:]
            assert time.monotonic() < deadline, f"{command} did not come up"
            time.sleep(0.2)
        yield address
    finally:
        subprocess.run(["pkill", "-TERM", "-g", str(process.pid)], check=False)
        process.wait(30)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(url: str) -> bool:
    """Whether the address says that all is well."""
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
