"""Where the car is and what light falls on it, frame by frame."""

import numpy as np

from recording import angles
from training.sample.rendering.portrait import Light
from training.sample.rendering.road import Stretch

SPEED = 22.0  # m/s
# Metres from the start; repeated every lap, so that drives of any length have some.
TUNNELS = ((1500.0, 1900.0), (5200.0, 5600.0))
LAP = 8000.0
LIGHTS = ("day", "tunnels", "night")
_MANY_TUNNELS = tuple((120.0 + 260.0 * k, 250.0 + 260.0 * k) for k in range(30))  # in and out every six seconds
_STREET_LAMPS = 0.93  # by night, as a share of a tunnel's light


class Journey:
    """The car's way over ``seconds`` (n,), and the light in it. ``travelled`` (n,) metres; ``exposure`` (n,) of the
    dash camera, which lags a little behind the light. ``light``: one of :data:`LIGHTS`."""

    def __init__(self, seed: int, seconds: np.ndarray, light: str = "day") -> None:
        rng = np.random.default_rng([seed, 4])
        self._seconds = seconds
        self.travelled = SPEED * seconds
        self._curve = 0.0007 * (_waves(rng, seconds, 31.0) + 0.6 * _waves(rng, seconds, 12.0))
        heading = -25.0 + 55.0 * _waves(rng, seconds, 140.0) + 30.0 * _waves(rng, seconds, 47.0)
        self._sun = angles.vectors(np.column_stack([heading, 34.0 + 6.0 * _waves(rng, seconds, 200.0)]))
        cloud = np.clip(0.62 + 0.75 * _waves(rng, seconds, 38.0) + 0.3 * _waves(rng, seconds, 9.0), 0.0, 1.0)
        trees = np.clip(0.5 + 1.4 * _waves(rng, seconds, 17.0) + 1.2 * np.sin(self.travelled * 0.61), 0.0, 1.0)
        self._sunshine = cloud * (0.25 + 0.75 * trees)
        self._sky = 0.75 + 0.3 * cloud
        self._tunnels = _MANY_TUNNELS if light == "tunnels" else TUNNELS
        self._daylight = 0.06 if light == "night" else 1.0  # outside
        self._inside = np.maximum(self._tunnel_share(), _STREET_LAMPS if light == "night" else 0.0)
        self._nod = 0.25 * _waves(rng, seconds, 1.3)
        self._lead = 27.0 + 9.0 * _waves(rng, seconds, 25.0)
        self._oncoming_every = 7.0 + 3.0 * rng.random()
        brightness = self._sky * (0.55 + 0.45 * self._sunshine) * (1.0 - 0.86 * self._inside)
        lagged = np.array([brightness[max(0, n - 1) : n + 1].mean() for n in range(len(seconds))])
        self.exposure = 0.92 * (0.62 / lagged) ** 0.8

    def _tunnel_share(self) -> np.ndarray:
        at = self.travelled % LAP
        inside = np.zeros_like(at)
        for start, end in self._tunnels:
            inside = np.maximum(inside, np.clip((at - start + 6) / 14, 0, 1) * np.clip((end - at) / 14, 0, 1))
        return inside

    def stretch(self, number: int) -> Stretch:
        """The road ahead in that frame."""
        at = self.travelled[number]
        lap = np.floor(at / LAP) * LAP
        ends = [(lap + LAP * k + start, lap + LAP * k + end) for k in (0, 1) for start, end in self._tunnels]
        inside = self._inside[number]
        since = (self._seconds[number] % self._oncoming_every) * 2.1 * SPEED
        return Stretch(
            travelled=float(at),
            curve=float(self._curve[number]),
            pitch_deg=float(self._nod[number]),
            lead=float(self._lead[number]),
            oncoming=float(180.0 - since),
            tunnel=next(pair for pair in ends if pair[1] > at),
            sun=self._sun[number],
            sun_colour=np.array([1.7, 1.5, 1.25]) * self._sunshine[number] * self._daylight,
            sky_colour=np.array([0.74, 0.80, 0.90]) * self._sky[number] * (1.0 - 0.25 * inside) * self._daylight,
        )

    def light(self, number: int) -> Light:
        """The light in the cabin in that frame."""
        inside, sky = self._inside[number], self._sky[number]
        lamp = 0.16 * (1.0 + 0.5 * np.sin(self.travelled[number] * 2 * np.pi / 8.0))
        day = np.array([0.54, 0.55, 0.57]) * sky * (1.0 - inside)
        warm = np.array([1.0, 0.78, 0.5]) * lamp * inside
        window = day * 11.0 + warm * 6.0
        azimuth, elevation = angles.from_vectors(self._sun[number : number + 1])[0]
        shine = np.array([2.3, 2.05, 1.75]) * self._sunshine[number] * (1.0 - inside)
        return Light(
            sun=self._sun[number],
            sun_colour=shine,
            above=0.62 * day + 0.75 * warm,
            below=0.34 * day * np.array([1.0, 0.93, 0.85]) + 0.3 * warm,
            fill=angles.vectors(np.array([[18.0, 8.0]]))[0],
            fill_colour=0.85 * day + 0.5 * warm,
            reflected=np.array(
                [
                    [-22.0, 50.0, 3.0, 25.0, *window],
                    [-110.0, -62.0, -8.0, 20.0, *(0.8 * window)],
                    [azimuth - 5, azimuth + 5, elevation - 5, elevation + 5, *(shine * 12.0)],
                ]
            ),
            windows=True,
            pupil=float(1.9 + 1.0 * inside),
        )

    def outside(self, number: int) -> np.ndarray:
        """Colour of the sky through side and rear windows."""
        inside = self._inside[number]
        return (
            np.array([0.95, 0.98, 1.02]) * self._sky[number] * (1.0 - inside) + np.array([0.10, 0.075, 0.045]) * inside
        )


def _waves(rng: np.random.Generator, seconds: np.ndarray, period: float) -> np.ndarray:
    """(n,) smooth noise in about [−1, 1]: three sines around ``period`` with random phases."""
    phases = rng.uniform(0, 2 * np.pi, 3)
    rates = 2 * np.pi / (period * np.array([1.0, 1.618, 0.732]))
    return sum(np.sin(rate * seconds + phase) for rate, phase in zip(rates, phases, strict=True)) / 2.2
