"""The renderer of the sample drive and of the lab faces: geometry, eyes, light, road and cabin.

World frame, millimetres: x to the person's right, y up, z ahead of the person; the origin is the midpoint of
the eyeball centres of a head at rest. The axes are those of :func:`recording.angles.vectors`. Colours are linear
RGB until a picture is developed. Everything is a pure function of its arguments and seeds.
"""
