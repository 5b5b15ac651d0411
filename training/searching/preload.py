"""What a trial's process has imported when it is forked (:mod:`training.searching.process`)."""

from recording import garbage

with garbage.while_importing():
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    import training.searching.trial  # noqa: F401
