"""``make demo`` on a registry that has a version in Production: it starts three servers, and none outlives it."""

import json
import time
import urllib.request

import pytest
from e2e import browser

pytestmark = pytest.mark.slow


def test_the_demo_serves_what_is_in_production_and_stops_all_it_started(own_registry):
    ports = {name: browser.free_port() for name in ("tracking", "server", "app")}
    places = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    options = [word for name, port in ports.items() for word in (f"--{name}-port", str(port))]
    log = own_registry.folder / "started.log"
    demo = own_registry.start("-m", "serving.demo", *options)
    try:
        deadline = time.monotonic() + 240
        while "Ctrl-C stops all three." not in log.read_text():
            assert demo.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.3)
        assert all(address in log.read_text() for address in places.values())
        with urllib.request.urlopen(places["server"] + "/v1/model", timeout=10) as answer:
            assert json.load(answer)["version"] == 1
        with urllib.request.urlopen(places["tracking"] + "/health", timeout=10) as answer:
            assert answer.status == 200
    finally:
        demo.terminate()
        status = demo.wait(60)
    assert status == 0 and log.read_text().rstrip().endswith("stopped")
    for address in places.values():
        with pytest.raises(OSError):
            urllib.request.urlopen(address, timeout=2)
