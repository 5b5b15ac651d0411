"""The folder in which copies of versions are kept: where it is, and whether it can be written to."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recording import files
from recording.exceptions import InputError

log = logging.getLogger("serving.cache")

REMEDY = "give --cache or XDG_CACHE_HOME a folder that can be written to"


def folder(given: str = "") -> Path:
    """Where copies of versions are kept: ``given`` by ``--cache``, else the user's (XDG Base Directory specification).

    Nothing is made. :class:`InputError` where no folder is given and the system knows no home of this user.
    """
    if given:
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gaze-serving"
    except RuntimeError:  # no HOME, and no entry in the password file: a container under any number
        raise InputError(
            f"no cache folder for the copies of versions: this user has no home folder; {REMEDY}"
        ) from None


def check(given: str = "") -> Path:
    """As :func:`folder`, made where it is not there.

    :class:`InputError` where it cannot be made. One that is there and cannot be written to is taken, and the log says
    so: the copies in it can be loaded all the same.
    """
    place = folder(given)
    if problem := _problem(place):
        if not files.is_folder(place):
            raise InputError(f"the cache folder {place} cannot be made ({problem}); {REMEDY}")
        log.warning(
            "the cache folder %s cannot be written to (%s): only versions of which it holds a copy can be loaded; %s",
            *(place, problem, REMEDY),
        )
    return place


@contextmanager
def opened(given: str = "") -> Iterator[Path]:
    """As :func:`check`; where nobody named a folder and the user's own cannot be made, a temporary one.

    Containers that are read-only, or run under a number without a home, have no other. The log says what is lost.
    """
    try:
        place = check(given)
    except InputError as error:
        if given or os.environ.get("XDG_CACHE_HOME"):
            raise
        with _temporary(error) as place:
            yield place
        return
    yield place


@contextmanager
def _temporary(reason: InputError) -> Iterator[Path]:
    try:
        # What still loads when the server has to end may write into it to the last.
        scratch = tempfile.TemporaryDirectory(prefix="gaze-serving-", ignore_cleanup_errors=True)
    except OSError:
        raise reason from None
    with scratch as place:
        log.warning(
            "%s. Until then copies of versions are kept in %s and are gone at the end: each start fetches them again, "
            "and none is possible while the registry is down",
            *(reason, place),
        )
        yield Path(place)


def _problem(place: Path) -> str:
    """Why nothing can be written into a folder, which is made where it can be; "" where all is well."""
    try:
        files.check_links(place)
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return ""
    except FileExistsError:
        return "it is a file"
    except OSError as error:
        return error.strerror or str(error)
    except InputError as error:
        return str(error)
