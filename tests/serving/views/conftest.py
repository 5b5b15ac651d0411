"""A page of the app without a browser."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.testing.v1 import AppTest

Opened = Callable[..., AppTest]


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """``command_line("--stage", "Staging")``: what the app was started with."""

    def start(*options: str) -> None:
        monkeypatch.setattr(sys, "argv", ["app.py", "--cache", str(tmp_path / "cache"), *options])

    start()
    return start


@pytest.fixture
def opened(command_line: Callable[..., None]) -> Iterator[Opened]:
    """``opened("drive", folder="…", production=1)``: that page, drawn; what the pages keep is forgotten before."""
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
