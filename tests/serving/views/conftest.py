"""A page of the app without a browser."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.testing.v1 import AppTest

from registry import stages

Opened = Callable[..., AppTest]


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """``command_line("--stage", "Staging")``: what the app was started with."""

    def start(*options: str) -> None:
        monkeypatch.setattr(sys, "argv", ["app.py", "--cache", str(tmp_path / "cache"), *options])

    start()
    return start


@pytest.fixture
def opened(command_line: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """``opened("drive", folder="…", production=1)``: that page, drawn; what the pages keep is forgotten before."""
    # Streamlit puts its script in the place of the main module, which processes that are spawned later begin with.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    st.cache_data.clear()
    st.cache_resource.clear()

    def page(name: str, **state: object) -> AppTest:
        test = AppTest.from_string(f"from serving.views import {name}\n{name}.show()", default_timeout=60)
        for key, value in state.items():
            test.session_state[key] = value
        return test.run()

    yield page
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def version(make_version: Callable[..., int]) -> int:
    """The number of what is in Production."""
    number = make_version()
    stages.promote("gaze-tracker", number, force=True, why="something has to be there")
    return number


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., Path]:
    """``bare(20, size=(60, 60))``: a bare folder of so many samples, one a second, with pictures of ``size`` (w, h)."""

    def make(samples: int = 12, size: tuple[int, int] = (60, 60)) -> Path:
        folder = tmp_path / "mine"
        folder.mkdir()
        for frame in range(0, 30 * samples, 30):
            picture = np.full((size[1], size[0], 3), frame % 250, np.uint8)
            cv2.imwrite(str(folder / f"frame_{frame:05d}_driver.jpg"), picture)
            truth = {"azimuth_deg": 1.0 - frame % 20, "elevation_deg": -1.0}
            (folder / f"frame_{frame:05d}_gt.json").write_text(json.dumps(truth))
        return folder

    return make


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine stands in a zone called ABC, three hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "ABC-3")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def bar_texts(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What stands beside progress bars, step by step."""
    texts: list[str | None] = []
    draw = DeltaGenerator.progress

    def progress(self: DeltaGenerator, value: float, text: str | None = None) -> DeltaGenerator:
        texts.append(text)
        return draw(self, value, text)

    monkeypatch.setattr(DeltaGenerator, "progress", progress)
    monkeypatch.setattr(st, "progress", DeltaGenerator(root_container=0).progress)
    return texts
