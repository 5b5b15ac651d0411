"""Figures of the panel as tables: a drive at a time, and as geometric means over drives."""

from collections.abc import Iterable, Mapping
from statistics import geometric_mean, mean

MAIN = "main job"
OLD = "old recipe, better of both"
CLOSED = "best closed form"
CALIBRATED = "best calibration"
CONSTANT = "constant"
ANGLES = ("azimuth", "elevation", "3-D")
Errors = list[float]
"""Azimuth, elevation and 3-D error, degrees."""


def averaged(runs: Iterable[Mapping[str, Errors]]) -> dict[str, Errors]:
    """Figures of several seeds → their means, by method."""
    by_method: dict[str, list[Errors]] = {}
    for run in runs:
        for method, errors in run.items():
            by_method.setdefault(method, []).append(errors)
    return {method: [mean(column) for column in zip(*found, strict=True)] for method, found in by_method.items()}


def with_best(figures: Mapping[str, Errors]) -> dict[str, Errors]:
    """The same, and of each family the method with the least 3-D error *on the test*: harder to beat than a choice
    that could be made without it."""
    families = {
        CALIBRATED: ("linear calibration", "affine"),
        CLOSED: ("affine", "ridge", "lad"),
        OLD: ("old recipe",),
    }
    found = dict(figures)
    for family, beginnings in families.items():
        members = [errors for method, errors in figures.items() if method.startswith(beginnings)]
        if members:
            found[family] = min(members, key=lambda errors: errors[2])
    return found


def of_a_drive(name: str, figures: Mapping[str, Errors], seconds: Mapping[str, float]) -> str:
    """Every method's errors on one drive."""
    lines = [f"## {name}", "", f"| | {' | '.join(ANGLES)} | s |", "|---|---|---|---|---|"]
    for method, errors in figures.items():
        spent = f"{seconds[method]:.0f}" if method in seconds else ""
        lines.append(f"| {method} | {' | '.join(f'{error:.2f}' for error in errors)} | {spent} |")
    return "\n".join(lines) + "\n"


def over_drives(title: str, drives: Mapping[str, Mapping[str, Errors]]) -> str:
    """Geometric means of the methods that every drive has, and what the main job makes of each of them.

    *ratio*: geometric mean over drives of the main job's 3-D error over the method's; *worst*: the largest of these.
    """
    shared = [method for method in next(iter(drives.values())) if all(method in found for found in drives.values())]
    lines = [f"## {title}: geometric means over {len(drives)} drives", ""]
    lines += [f"| | {' | '.join(ANGLES)} | main job's ratio | worst |", "|---|---|---|---|---|---|"]
    for method in shared:
        means = [geometric_mean(found[method][k] for found in drives.values()) for k in range(len(ANGLES))]
        cells = [f"{one:.2f}" for one in means]
        if MAIN in shared and method != MAIN:
            ratios = {name: found[MAIN][2] / found[method][2] for name, found in drives.items()}
            worst = max(ratios, key=lambda name: ratios[name])
            cells += [f"{geometric_mean(ratios.values()):.2f}", f"{ratios[worst]:.2f} ({worst})"]
        else:
            cells += ["", ""]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
