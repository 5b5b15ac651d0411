"""What a trial's process has imported when it is forked (:mod:`training.searching.process`)."""

from recording import garbage

with garbage.while_importing():
    import training.searching.trial  # noqa: F401
