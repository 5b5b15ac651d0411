"""The frame around the app's pages."""

import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.string_util import is_emoji
from streamlit.testing.v1 import AppTest

from serving import app_command

APP = Path(app_command.__file__).with_name("app.py")


@pytest.fixture
def app(tracking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AppTest:
    """The app on an empty registry, following Staging."""
    # Streamlit puts its script in the place of the main module, which processes that are spawned later begin with.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "argv", ["app.py", "--stage", "Staging", "--cache", str(tmp_path / "cache")])
    return AppTest.from_file(str(APP), default_timeout=60)


def test_the_icon_of_the_page_is_not_fetched_from_elsewhere(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    icons: list[str] = []
    monkeypatch.setattr(st, "set_page_config", lambda title, icon, layout: icons.append(icon))
    assert not app.run().exception
    assert [is_emoji(icon) for icon in icons] == [True]


def test_a_stage_that_was_emptied_is_called_by_its_name(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(st, "toast", said.append)
    app.session_state.production = 1
    assert not app.run().exception
    assert said == ["Nothing is in Staging now"]
