"""Whether the scans of a JPEG say all that there is to say of its picture (ITU-T T.81, B.2.2, B.2.3 and G).

A progressive JPEG comes in scans, each of some coefficients and some of their bits. One that ends between two of them,
with an end marker behind, decodes without a complaint to a blurred picture; so does one of which a colour never came.
"""

COEFFICIENTS = 64
_UNSAID = 16  # bits: more than any coefficient has


class Scans:
    """What is still missing of a picture while its headers are read."""

    def __init__(self) -> None:
        self._missing: dict[int, list[int]] = {}
        self._progressive = False

    def frame(self, header: bytes, *, progressive: bool) -> None:
        """The content of a frame header: precision, height, width, and the components, of three bytes each."""
        self._progressive = progressive
        self._missing = {component: [_UNSAID] * COEFFICIENTS for component in header[6 : 6 + 3 * header[5] : 3]}

    def scan(self, header: bytes) -> None:
        """The content of a scan header: its components, of two bytes each, then the coefficients and the bit that it
        goes down to."""
        count = header[0] if header else 0
        first, last, bits = header[1 + 2 * count : 4 + 2 * count].ljust(3, b"\0")
        if not self._progressive:  # it says all at once, and whatever is written there counts for nothing
            first, last, bits = 0, COEFFICIENTS - 1, 0
        for component in header[1 : 1 + 2 * count : 2]:
            said = self._missing.get(component)
            if said is not None:
                said[first : last + 1] = [bits & 15] * len(said[first : last + 1])

    @property
    def complete(self) -> bool:
        """Whether every coefficient of every component came, down to its last bit."""
        return not any(map(any, self._missing.values()))
