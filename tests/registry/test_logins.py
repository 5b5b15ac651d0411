"""Passwords inside of addresses are not shown, whatever they are made of; what is no login stays as it is."""

import logging
import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from registry import logins, store
from registry.command_line import one_line

SHOWN = [
    ("https://ann:s3cr@t@host:5000/api failed", "https://ann:…@host:5000/api failed"),
    ("at postgresql+psycopg2://ann:a/b:c@db/mlflow: x", "at postgresql+psycopg2://ann:…@db/mlflow: x"),
    ("http://ann@corp.com:S3CRET@localhost:18300", "http://ann@corp.com:…@localhost:18300"),
    ("(postgresql+psycopg2://ann@corp:S3CRET@db/x)", "(postgresql+psycopg2://ann@corp:…@db/x)"),
    ("postgres://ann:se/cr@db", "postgres://ann:…@db"),
    ("cockroachdb://ann:12/34@db:26257/x", "cockroachdb://ann:…@db:26257/x"),
    ("Invalid url: https://ann:se/cr:et@host", "Invalid url: https://ann:…@host"),
    ("https://ann:se cr et@host: no", "https://ann:…@host: no"),
    ("http://ann@corp:se cr@host: no", "http://ann@corp:…@host: no"),
    ("HTTPS://ann:s@host", "HTTPS://ann:…@host"),
    ("https://glpat-12_ab@host:5000/api failed", "https://…@host:5000/api failed"),
    (
        "postgresql://db/mlflow?user=ann&password=secret&sslmode=require",
        "postgresql://db/mlflow?user=ann&password=…&sslmode=require",
    ),
    ("postgresql://db/x?PASSWORD=se'cret&sslmode=require", "postgresql://db/x?PASSWORD=…&sslmode=require"),
    ("mssql+pyodbc:///?odbc_connect=UID%3Dann%3BPWD%3Dse%3Bcret", "mssql+pyodbc:///?odbc_connect=UID%3Dann%3BPWD%3D…"),
]
LEFT = [
    "http://127.0.0.1:5000 (models:/gaze@production)",
    "MLflow at http://localhost:5000: ann@host",
    "http://localhost:5000/models:/gaze@production",
    "https://[::1]:5000/a@b",
    '{"uri":"http://localhost:5000","mail":"ann@host"}',
    "see https://mlflow.example. Then write to ann@host",
    "sqlite:////srv/a b/mlflow.db and ann@host",
    "sqlite:////srv/ann:b@c/mlflow.db",
    "s3://bucket/ann@host",
    "ssh://git@github.com/x",
    "postgresql://ann@db/x",
    "postgresql://db:5432/mlflow?application_name=a@b",
    "http://localhost:5000/api/2.0/mlflow/runs/search?page_token=abc",
    "models:/gaze@production",
    "ann@host: password=… is asked for",
]


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_passwords_in_addresses_are_not_shown(text: str, shown: str) -> None:
    assert logins.hide(text) == shown
    assert logins.hide(shown) == shown


@pytest.mark.parametrize("text", LEFT)
def test_what_is_no_login_stays(text: str) -> None:
    assert logins.hide(text) == text


ANYTHING = st.text("ab1.@:/ %#?'-", min_size=1, max_size=12)
SCHEMES = st.sampled_from(["http", "https", "HTTPS", "postgresql+psycopg2", "postgres", "mysql+pymysql", "oracle"])
SAYINGS = st.sampled_from(["{} does not answer", "MLflow at {}: refused (ann@host)", "'{}'", "{}/api and {}"])
PATIENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)


@PATIENT
@given(name=ANYTHING, password=ANYTHING, scheme=SCHEMES, saying=SAYINGS)
def test_what_the_environment_names_is_hidden_whatever_it_is_made_of(
    monkeypatch: pytest.MonkeyPatch, name: str, password: str, scheme: str, saying: str
) -> None:
    assume(":" not in name and not name.startswith("/"))
    address = f"{scheme}://{name}:{password}@host:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    shown = f"{scheme}://{name}:…@host:5000"
    assert logins.hide(saying.format(address, address)) == saying.format(shown, shown)
    said = one_line(ValueError(saying.format(address, address)))
    assert said.split() == saying.format(shown, shown).split()


@PATIENT
@given(
    name=st.text("ab1.@%-", min_size=1, max_size=12),
    password=st.text("ab1.@:/%#?'-", min_size=1, max_size=12),
    scheme=SCHEMES,
    saying=SAYINGS,
)
def test_in_a_text_all_goes_that_may_be_a_password(name: str, password: str, scheme: str, saying: str) -> None:
    assume(not re.match(r"\d+[/?#']", password))  # of a web server: a port, and what follows on it
    shown = f"{scheme}://{name}:…@host:5000"
    address = f"{scheme}://{name}:{password}@host:5000"
    assert logins.hide(saying.format(address, address)) == saying.format(shown, shown)


@pytest.mark.parametrize("address", ["http://ann@corp.com:S3CRET@localhost:18300", "https://tok en@host"])
def test_mlflow_prints_no_link_with_a_password(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("mlflow.store.db.utils"), "level", logging.WARNING)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "")
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT")
    store.settle()
    assert store.os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"
