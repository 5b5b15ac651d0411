"""``python -m benchmarks.accuracy``: what the main job reaches, beside what it has to beat, on a panel of drives.

Every drive of the panel has a held-out part. On it, in degrees: the constant, the affine map of the base's answers,
ridge on its pooled features, the old recipe (head alone and all layers, its own best epoch), and the main job, which
gets as many seconds (``--seconds``) as each run of the old recipe. The panel:

- ``--people 1-5``: real photographs of people (Pointing'04, ``--faces FOLDER``), not part of this project: series 1
  trains and validates, series 2 tests. The angle is the head's, and its steps are 15–30°.
- ``--seeds 11,12``: sample drives of ``--length`` seconds, rendered with these seeds; their test blocks test.

A drive takes about 3.5 times ``--seconds``. Results are kept in ``--work`` as ``accuracy.json``: what is there already
is not run again, so the panel can be measured a drive at a time.
"""
