"""``python -m benchmarks.accuracy``: what the main job reaches, beside what it has to beat, on a panel of drives.

Every drive of the panel has a held-out part. On it, in degrees: the constant, calibrations of the base's answers, heads
in closed form on its pooled features, the old recipe (head alone and all layers, its own best epoch), and the main job,
which gets as many seconds (``--seconds``) as each run of the old recipe. The panel:

- ``--drives all`` or some names of :data:`benchmarks.accuracy.panel.RECIPES`: rendered drives that differ in driver,
  camera place, zero, face size, light, frame rate and length; their test blocks test.
- ``--people 1-10``: real photographs of people (Pointing'04, ``--faces FOLDER``), not part of this project: series 1
  trains and validates, series 2 tests. ``--left-out 1-10``: eight others train, one more validates, this one tests
  (``--samples`` at most train and validate). The angle is the head's, and its steps are 15–30°.

The first four recipes and people 1–5 are there to choose on, the others to confirm on (``--part``). Tables: a drive at
a time, and as geometric means over the drives of each part. ``--seeds 0,1,2`` repeats what is random and averages.

It says beforehand how long it will take. Results are kept in ``--work`` as ``accuracy.json``: what is there already is
not run again, so the panel can be measured a drive at a time; other settings want another ``--work``. ``--pairwise``
runs two methods at a time on one core each, the main job and the old recipe with all layers first: what else happens on
the machine happens to both. ``--no-bfloat16`` measures as on a processor that has none. ``--release FOLDER`` adds the
main job of another checkout.
"""
