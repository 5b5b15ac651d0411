"""What one request may ask for, and the refusal that it gets when it asks for more."""

from dataclasses import dataclass

from recording.exceptions import InputError
from recording.preprocess import MAX_PIXELS


@dataclass(frozen=True)
class Limits:
    """Bounds that hold before any work is done for a request."""

    max_bytes: int = 20 * 1024 * 1024
    """Bytes of one request body."""
    max_pixels: int = 25_000_000
    """Pixels of one picture, read from its header."""
    max_images: int = 64
    """Pictures in one request."""
    queue: int = 512
    """Pictures admitted and not yet answered, over all requests."""
    body_seconds: float = 30.0
    """Time for a request body to arrive."""
    answer_seconds: float = 30.0
    """Time from the body's arrival to the answer."""
    head_seconds: float = 15.0
    """Time for a new connection to send its request line and headers."""
    connections: int = 2000
    """Open connections."""
    streams: int = 16
    """Open camera streams."""
    frame_bytes: int = 4 * 1024 * 1024
    """Bytes of one frame of a camera stream."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1024:
            raise InputError(f"max-bytes is {self.max_bytes}; a picture needs at least 1024")
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise InputError(f"max-pixels is {self.max_pixels}; choose 1 to {MAX_PIXELS}")

    @property
    def bodies_bytes(self) -> int:
        """Bytes of all request bodies that are held at once."""
        return 4 * self.max_bytes


class Refused(Exception):
    """A request that is answered with ``status`` and ``message`` instead of angles."""

    def __init__(self, status: int, message: str, *, reason: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason
        """Short label for the metric of refused requests."""
        self.retry_after = retry_after


def busy() -> Refused:
    """The refusal of a request for which there is no room at present."""
    return Refused(503, "the server is busy; send the request again in a second", reason="busy", retry_after=1)
