"""*Versions*: what is in the stage, since when and why, what was there before, and two versions side by side."""

import pandas as pd
import streamlit as st

from recording.exceptions import GazeError
from registry.history import Line
from registry.rule import BASELINES
from registry.versions import TWIN_TAG, Version
from serving import prepared
from serving.views import shared

_ERRORS = {
    "azimuth_error_deg": "azimuth",
    "elevation_error_deg": "elevation",
    "angular_error_deg": "3-D angle",
}
_WHOSE = {"": "This model", "base_": "Base model", "constant_": "A constant"}
_PLAIN = st.column_config.NumberColumn(format="%.2f°")


def show() -> None:
    """The page."""
    st.title("Versions")
    catalogue = shared.current_catalog()
    try:
        versions = catalogue.versions()
        lines = catalogue.history() if versions else []
    except GazeError as error:
        st.error(str(error), icon=":material/error:")
        return
    if not versions:
        st.info(
            f"{catalogue.model} has no version yet. `mlflow run .` trains and registers one.",
            icon=":material/deployed_code:",
        )
        return
    by_number = {version.number: version for version in versions}
    _production(by_number, lines)
    st.subheader("All versions")
    _table(versions)
    if len(versions) > 1:
        st.subheader("Compare two")
        _compare_two(by_number)
    st.subheader("History")
    _history(lines)


def _production(by_number: dict[int, Version], lines: list[Line]) -> None:
    number = st.session_state.get("production")
    if number not in by_number:
        shared.production()
        return
    version = by_number[number]
    since = st.session_state.get("production_since", "")
    st.markdown(f"**Version {number}** is in {shared.options().stage}" + (f" since {since}." if since else "."))
    reasons = [line for line in lines if line.after == number and line.outcome in ("done", "finished later")]
    if reasons:
        last = reasons[-1]
        why = f" Reason given: “{last.why}”." if last.why else " No reason was given."
        st.markdown(f"Put there by {last.who} ({last.action}{', forced past the gate' if last.forced else ''}).{why}")
    if version.tags.get("rendered_sample_drive") == "true":
        st.caption("Trained on the rendered sample drive: it shows how the software works, not how real drivers look.")
    if version.tags.get("leaking") == "true":
        st.warning("Its errors come from a random split, which leaks: neighbours of the test frames were trained on.")
    if version.tags.get(TWIN_TAG) == "true":
        st.caption(
            "Trained on all samples: the errors are its twin's, trained in the same way without the held-out ones."
        )
    samples = version.tags.get("test_samples", "?")
    st.markdown(f"Mean **elevation** error on {samples} held-out samples at registration:")
    shown = _WHOSE | {f"{version.best_calibration}_": _calibration(version).capitalize()}
    for column, (prefix, whose) in zip(st.columns(len(shown)), shown.items(), strict=True):
        stated = [version.error(f"{prefix}{name}") for name in _ERRORS]
        figures = [error for error in stated if error is not None]
        if len(figures) < len(stated):
            continue
        column.metric(whose, shared.deg(figures[1], signed=False))
        column.caption(f"azimuth {figures[0]:.1f}°, 3-D {figures[2]:.1f}°")
    st.caption("A model is worth something only if it beats the constant and the best calibration.")
    with st.expander("Model card"):
        st.markdown(version.description or "This version has no model card.")


def _calibration(version: Version) -> str:
    """The name of the best calibration: the one that the verdict was reached against."""
    return BASELINES.get(version.best_calibration, version.best_calibration)


def _table(versions: list[Version]) -> None:
    rows = [
        {
            "version": version.number,
            "stage": version.stage if version.stage != "None" else "",
            "aliases": ", ".join(version.aliases),
            "created": shared.local_time(version.created),
        }
        | {title: version.error(name) for name, title in _ERRORS.items()}
        | {
            f"calibration {_ERRORS[name]}": version.error(f"{version.best_calibration}_{name}")
            for name in list(_ERRORS)[:2]
        }
        | {"calibration": _calibration(version).removesuffix(" calibration")}
        for version in versions
    ]
    table = pd.DataFrame(rows)
    st.dataframe(table, hide_index=True, column_config={name: _PLAIN for name in table.columns[4:-1]})


def _compare_two(by_number: dict[int, Version]) -> None:
    numbers = list(by_number)
    left, right = st.columns(2)
    first = left.selectbox("First", numbers, 0, format_func=shared.version_label)
    second = right.selectbox("Second", numbers, 1, format_func=shared.version_label)
    pair = [by_number[first], by_number[second]]
    rows = {
        f"{title} error at registration": [version.error(name) for version in pair] for name, title in _ERRORS.items()
    }
    table = pd.DataFrame(rows, index=[f"version {first}", f"version {second}"]).T
    table["difference"] = table.iloc[:, 1] - table.iloc[:, 0]
    signed = st.column_config.NumberColumn(format="%+.2f°")
    st.dataframe(table, column_config={name: _PLAIN for name in table.columns[:2]} | {"difference": signed})
    st.caption("Each on its own held-out samples. Where they come from different drives, compare on one folder below.")
    if st.session_state.get("folder") and st.button("Compare on the prepared folder"):
        _compare_on_folder(first, second)


def _compare_on_folder(first: int, second: int) -> None:
    drive = shared.samples()
    loaded = [shared.load(shared.options().model, number) for number in (first, second)]
    pair = [found for found in loaded if found is not None]
    if drive is None or len(pair) < 2:
        return
    seen = [prepared.parts(drive, shared.holdout(found.model, found.version)) == "trained on" for found in pair]
    keep = ~(seen[0] | seen[1])
    if not keep.any():
        st.warning("Every sample of this folder was trained on by one of the two: nothing can be compared fairly.")
        return
    rows = {}
    for found in pair:
        errors = shared.errors_table(shared.answers(found, drive)[keep], drive.measured_deg[keep]).abs().mean()
        rows[f"version {found.version}"] = errors.rename({"angle": "3-D angle"})
    table = pd.DataFrame(rows)
    st.dataframe(table, column_config={name: _PLAIN for name in table.columns})
    st.caption(f"Mean absolute errors on the {int(keep.sum())} samples that neither of the two was trained on.")


def _history(lines: list[Line]) -> None:
    if not lines:
        st.caption("No change of stage has been written down yet.")
        return
    rows = [
        {
            "when": shared.local_time(line.time),
            "who": line.who,
            "what": line.action + (" (forced)" if line.forced else ""),
            "version": line.version,
            "from": line.from_stage,
            "to": line.to_stage,
            "outcome": line.outcome or "under way",
            "why": "; ".join(filter(None, [line.why, line.gate_said])),
        }
        for line in reversed(lines)
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True)
