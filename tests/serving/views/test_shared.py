"""What the pages of the app have in common."""

from collections.abc import Callable

import pytest

st = pytest.importorskip("streamlit")

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
