"""The Ground Truth Comparison app: ``streamlit run serving/app.py -- --data FOLDER --model gaze-tracker``."""

import sys
from pathlib import Path

# Streamlit puts the script's own folder on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import streamlit as st

from recording.exceptions import GazeError
from registry.command_line import one_line
from serving.views import drive, ground_truth, shared, try_it, versions

# Seconds between two looks at the registry: a promotion shows up by itself within this time.
POLL = 3


def main() -> None:
    """Draw the sidebar and the chosen page."""
    # An emoji: browsers fetch a material icon of a page from Google, and cars and labs are offline.
    st.set_page_config("Gaze in the car", "👁️", layout="wide")
    st.session_state.setdefault("folder", shared.options().data)
    if "production" not in st.session_state:
        _look_up()
    page = st.navigation(
        [
            st.Page(
                ground_truth.show,
                title="Ground Truth Comparison",
                icon=":material/compare:",
                url_path="comparison",
                default=True,
            ),
            st.Page(drive.show, title="Drive", icon=":material/timeline:", url_path="drive"),
            st.Page(versions.show, title="Versions", icon=":material/deployed_code:", url_path="versions"),
            st.Page(try_it.show, title="Try it", icon=":material/photo_camera:", url_path="try"),
        ]
    )
    with st.sidebar:
        _badge()
        st.text_input("Prepared folder", key="folder", help="Made by `python -m training prepare`.")
        with st.expander("Units and signs"):
            st.markdown(shared.UNITS)
    try:
        page.run()
    except GazeError as error:
        st.error(str(error), icon=":material/error:")


@st.fragment(run_every=POLL)
def _badge() -> None:
    given = shared.options()
    before = st.session_state.production
    _look_up()
    number = st.session_state.production
    if number != before:
        st.toast(f"{f'Version {number}' if number else 'Nothing'} is in {given.stage} now")
        st.rerun(scope="app")
    if number is None:
        st.badge(f"{given.stage}: none", icon=":material/block:", color="gray")
    else:
        st.badge(f"{given.stage}: {given.model} version {number}", icon=":material/check:", color="green")
        if st.session_state.production_since:
            st.caption(f"since {st.session_state.production_since}")
    if st.session_state.production_problem and number is not None:
        st.caption(f":material/warning: {st.session_state.production_problem}")


def _look_up() -> None:
    """Ask the registry; while it does not answer, what was in the stage stays on the page, with the reason."""
    state = st.session_state
    try:
        found = shared.current_catalog().production()
    except GazeError as error:
        gone = type(error).__name__ == "NoSuchVersion"
        state.production = None if gone else state.get("production")
        state.production_since = state.get("production_since", "")
        state.production_problem = one_line(error)
        return
    state.production = found.version
    state.production_problem = found.warning
    state.production_since = shared.local_time(found.since)


main()
