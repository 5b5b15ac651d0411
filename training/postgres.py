"""MLflow's database in PostgreSQL, which two processes meet when it is new."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url, text
from sqlalchemy.exc import ArgumentError

_KEY = 0x67617A65  # of PostgreSQL's advisory locks, which every program of the same database shares
_WAIT_S = 180
"""Longer than MLflow needs for its tables on a busy machine."""


@contextmanager
def alone(address: str) -> Iterator[None]:
    """Nobody else is inside with the same database; no-op for an address that is not PostgreSQL's.

    Its lock ends with its transaction, and so with the process, also behind a pooler that lends connections by the
    transaction.
    """
    if not _is_postgres(address):
        yield
        return
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry  # takes seconds; waits for one that starts

    engine = create_sqlalchemy_engine_with_retry(address)  # type: ignore[no-untyped-call]
    try:
        with engine.connect() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT_S}s'"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _KEY})
            yield
    finally:
        engine.dispose()


def _is_postgres(address: str) -> bool:
    try:
        return make_url(address).get_backend_name() == "postgresql"
    except ArgumentError:  # a folder, or a name such as databricks
        return False
