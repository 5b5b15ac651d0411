"""The gate's checks of parts: what is better on the whole must not be worse in one scenario or for one driver."""

from registry.comparison import Comparison, Package
from registry.contract import UnseenDriver
from registry.rule import Check


def scenario(compared: Comparison, name: str, min_samples: int, limit_deg: float) -> list[Check]:
    """The scenario that most clearly got worse: refused where that is shown and is more than may be."""
    changes = compared.scenario_changes(min_samples)
    if not changes:
        return []
    worst = max(changes, key=lambda change: (change.at_least_deg > 0, change.mean_deg))
    shown = worst.at_least_deg > 0
    found = f"{worst.mean_deg:+z.2f}°, {'shown' if shown else 'not shown'} to be worse in {len(changes)} looks"
    passed = not shown or worst.mean_deg <= limit_deg
    return [Check(f"{name}: worst scenario ({worst.number})", found, f"≤ {limit_deg:+z.2f}° where shown", passed)]


def driver(compared: Comparison, name: str, limit_deg: float) -> list[Check]:
    """The driver of the held-out samples who most clearly got worse: refused where that is shown and is more than may
    be; nothing where it is not known who drives."""
    changes = compared.driver_changes()
    if not changes:
        return []
    who, change = max(changes, key=lambda one: (one[1].is_told and one[1].low > 0, one[1].mean))
    shown = change.is_told and change.low > 0
    found = f"{change.mean:+z.2f}°, {'shown' if shown else 'not shown'} to be worse in {len(changes)} looks"
    passed = not shown or change.mean <= limit_deg
    return [Check(f"{name}: worst driver ({who})", found, f"≤ {limit_deg:+z.2f}° where shown", passed)]


def left_out(new: Package, old: Package, who: str, limit_deg: float) -> list[Check]:
    """The drivers that both versions left out in turn, on the same drives: what the two contracts state of them.

    It is the only figure of drivers whom the registered models have learnt from. Nothing where a contract has none.
    """
    if new.contract.unseen_driver is None or old.contract.unseen_driver is None:
        return []
    name = f"against {who}: drivers left out in turn"
    ours, theirs = (_by_driver(one) for one in (new.contract.unseen_driver, old.contract.unseen_driver))
    changes = {key[0]: ours[key] - theirs[key] for key in sorted(ours.keys() & theirs.keys())}
    if not changes:
        return [Check(name, "no driver with the same drives in both", "said only", True)]
    worst_one = max(changes, key=changes.__getitem__)
    found = f"{worst_one} {changes[worst_one]:+z.2f}°, the worst of {len(changes)}"
    return [Check(name, found, f"≤ {limit_deg:+z.2f}° for every driver", changes[worst_one] <= limit_deg)]


def _by_driver(stated: UnseenDriver) -> dict[tuple[str, tuple[str, ...]], float]:
    """(driver, digests of their drives) → 3-D error, degrees."""
    return {(one.name, tuple(sorted(one.recordings))): one.errors.angular_error_deg for one in stated.drivers}
