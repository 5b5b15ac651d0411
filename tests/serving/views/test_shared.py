"""What the pages of the app have in common."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import streamlit as st

from serving.views import shared


def test_a_version_is_called_by_the_stage_that_the_app_follows(
    monkeypatch: pytest.MonkeyPatch, command_line: Callable[..., None]
) -> None:
    monkeypatch.setitem(st.session_state, "production", 1)
    assert [shared.version_label(number) for number in (1, 2)] == ["version 1 (Production)", "version 2"]
    command_line("--stage", "Staging")
    assert shared.version_label(1) == "version 1 (Staging)"


def test_a_page_says_in_which_stage_nothing_is(opened, command_line: Callable[..., None]) -> None:
    command_line("--stage", "Staging")
    assert [info.value for info in opened("try_it").info] == ["No version is in Staging."]


def test_every_moment_is_shown_in_the_zone_of_the_machine_which_is_named(elsewhere: None) -> None:
    said = "2026-01-31 13:30:05 ABC"
    assert shared.local_time("2026-01-31T10:30:05Z") == shared.local_time("2026-01-31T10:30:05") == said
    assert shared.local_time(datetime(2026, 1, 31, 10, 30, 5, tzinfo=UTC)) == said
    assert shared.local_time("") == ""
