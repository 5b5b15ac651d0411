"""What people do in MLflow's own pages, in a real browser: our resolver follows, history shows it after ``sync``."""

import re

import mlflow
import pytest
from e2e import browser
from e2e.commands import Place, parent_of

from registry import cli, history, resolving, stages

pytestmark = [pytest.mark.slow, pytest.mark.browser]
SWITCH = "New model registry UI"


@pytest.fixture(scope="module")
def ui(own_registry):
    store = ["--backend-store-uri", own_registry.uri, "--workers", "1"]
    with browser.running(own_registry, "mlflow", "server", *store, health="/health") as address:
        yield address


@pytest.fixture
def unpromoted(own_registry) -> Place:
    """Version 1 in no stage, with its history."""
    mlflow.set_tracking_uri(own_registry.uri)
    stages.demote("gaze-tracker", 1)
    return own_registry


def open_version(page, address: str) -> None:
    page.goto(f"{address}/#/models/gaze-tracker/versions/1")
    page.get_by_text(SWITCH).wait_for()


def said(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """What ``python -m registry …`` prints."""
    assert cli.main([*command]) == 0
    return capsys.readouterr().out


def check_followed_and_synced(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    mlflow.set_tracking_uri(place.uri)
    assert resolving.resolve("gaze-tracker").version == 1
    assert "not in the history" in said(capsys, "history")
    said(capsys, "sync")
    last = history.read("gaze-tracker")[-1]
    assert (last.action, last.version, last.outcome) == ("elsewhere", 1, "done")
    client = mlflow.MlflowClient()
    assert client.get_model_version("gaze-tracker", "1").current_stage == "Production"
    assert client.get_model_version_by_alias("gaze-tracker", "production").version in ("1", 1)
    assert "not in the history" not in said(capsys, "history")


def test_stage_drop_down(chromium, ui, unpromoted, capsys):
    with browser.page(chromium) as page:
        open_version(page, ui)
        page.get_by_role("switch").first.click()
        page.get_by_role("button", name="Disable").click()
        page.get_by_text("None", exact=True).first.click()
        page.get_by_role("menuitem").filter(has_text="Production").click()
        page.get_by_role("dialog").get_by_role("button", name="OK").click()
        page.get_by_role("dialog").wait_for(state="hidden")
        page.get_by_text("Production", exact=True).first.wait_for()
    check_followed_and_synced(unpromoted, capsys)


def test_alias_in_the_default_view(chromium, ui, unpromoted, capsys):
    with browser.page(chromium) as page:
        open_version(page, ui)
        page.get_by_role("button", name="Add").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("combobox").fill("production")
        page.keyboard.press("Enter")
        dialog.get_by_role("button", name="Save aliases").click()
        dialog.wait_for(state="hidden")
    check_followed_and_synced(unpromoted, capsys)


def test_card_and_run_are_readable_there(chromium, ui, promoted):
    parent = parent_of(promoted)
    with browser.page(chromium) as page:
        open_version(page, ui)
        for text in ("Errors on held-out samples", "linear calibration of the base", "Scenarios", "How it was made"):
            page.get_by_text(text, exact=True).first.wait_for()
        model = parent.data.metrics["test/elevation_error_deg"]
        row = page.get_by_role("row").filter(has_text="this model").inner_text()
        assert [float(cell) for cell in re.findall(r"(\d+\.\d+)°", row)][1] == pytest.approx(model, abs=0.006)
        page.goto(f"{ui}/#/experiments/{parent.info.experiment_id}/runs")
        page.get_by_text(parent.info.run_name).first.wait_for()
        page.goto(
            f"{ui}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"
            "/artifacts/figures/before_after.png"
        )
        page.get_by_role("img", name="before_after.png").or_(page.locator("img[src^=blob]")).first.wait_for()
