"""What a learning curve lets one say, in plain sentences: is it worth recording more?"""

from dataclasses import dataclass

import numpy as np

from training.measuring.learning_curve import FARTHEST, Expected, Forecast, Outlook

MORE = {"even": "Twice the samples of {these}", "first": "A drive twice as long"}

MORE_LAYERS = "more of the network trained (freeze=layer3 or none), as only a head was, on a frozen backbone; "


@dataclass(frozen=True)
class Circumstances:
    """What beside the curve a reader must know."""

    spacing: str
    usable: int
    """Usable rows of the recording; 0: not known."""
    rival: str
    """The best baseline on the same samples, by name."""
    rival_deg: float
    target_deg: float
    """0: none was asked for."""
    frozen: bool = False
    """Whether only a head was trained, on a frozen backbone, which has a floor of its own."""
    several: bool = False
    """Whether samples of several drives are trained on."""

    @property
    def more(self) -> str:
        """What twice the samples are."""
        return MORE[self.spacing].format(these="these drives" if self.several else "this drive")

    @property
    def same(self) -> str:
        """What was recorded."""
        return "the same drives" if self.several else "the same drive"


def sentences(forecast: Forecast, about: Circumstances) -> tuple[str, ...]:
    """One sentence or two a question: twice the samples, the target, whether there is anything to extrapolate."""
    said = [_twice(forecast, about)]
    if about.target_deg:
        said.append(_target(forecast, about))
    best = float(forecast.measured.means.min())
    if best >= about.rival_deg:
        said.append(
            f"No size is better than the {about.rival} ({about.rival_deg:.2f}°): the verdict of the main job says why, "
            "and that comes before more data"
        )
    return tuple(f"{sentence}." for sentence in said)


def _twice(forecast: Forecast, about: Circumstances) -> str:
    if forecast.outlook == Outlook.CANNOT_TELL:
        return f"Cannot tell what more samples would bring: {forecast.reason}"
    largest, measured = forecast.largest, float(forecast.measured.means[-1])
    gain = forecast.gain()
    if forecast.outlook == Outlook.WILL_NOT_HELP:
        return (
            f"More of {about.same} will not help: {about.more.lower()} ({2 * largest:,} samples) would "
            f"lower the 3-D error of {measured:.2f}° by {_percent(gain)}. What would: {MORE_LAYERS * about.frozen}"
            "another drive, with other light, "
            "on another day, with other places to look at; and labels that are in step with the video and as exact as "
            "the error that is asked for"
        )
    said = (
        f"{about.more} ({2 * largest:,} samples) would bring the 3-D error from {measured:.2f}° to "
        f"{forecast.at(2 * largest).describe()}, which is {_percent(gain)} less"
    )
    if about.spacing == "even" and about.usable and 2 * largest > about.usable:
        said += (
            f". The recording has {about.usable:,} usable rows: that many samples need a longer one, and what "
            "recording longer brings is what spacing=first measures"
        )
    return said


def _target(forecast: Forecast, about: Circumstances) -> str:
    target_deg = about.target_deg
    measured, wanted = forecast.measured, f"a 3-D error of {target_deg:g}°"
    reached = np.flatnonzero(measured.means <= target_deg)
    if len(reached):
        return f"{int(measured.sizes[reached[0]]):,} samples were enough for {wanted}"
    if forecast.outlook == Outlook.CANNOT_TELL:
        return f"How many samples {wanted} takes cannot be told either"
    needed, farthest = forecast.needed(target_deg), FARTHEST * forecast.largest
    if needed.low > farthest:
        lowest = forecast.at(farthest)
        return (
            f"More of {about.same} does not reach {wanted}: at {farthest:,.0f} samples, as far as this curve can be "
            f"trusted, it would be {lowest.describe()}"
        )
    if needed.value > farthest or not np.isfinite(needed.high):
        return f"{wanted[0].upper()}{wanted[1:]} takes {needed.low:,.0f} samples at least; the curve may never reach it"
    return f"{wanted[0].upper()}{wanted[1:]} takes about {_rounded(needed, farthest)} samples"


def _rounded(needed: Expected, farthest: float) -> str:
    """To two figures, and not beyond what the curve can be trusted for: it knows no more."""
    value, low, high = (float(f"{one:.2g}") for one in (needed.value, needed.low, needed.high))
    most = f"{high:,.0f}" if needed.high <= farthest else f"more than {farthest:,.0f}"
    return f"{value:,.0f} [{low:,.0f}–{most}]"


def _percent(gain: Expected) -> str:
    return f"{gain.value:.0%} [{max(0.0, gain.low):.0%}–{gain.high:.0%}]"
