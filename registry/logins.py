"""Passwords inside of addresses, such as ``https://ann:secret@mlflow.example``: what is said goes without.

A name without a password is hidden as well where web servers are asked: many take a token there. Of an address that the
environment names it is known where it begins and ends; of one in a text it is not, where its password holds blanks.
There, all goes that may be a password: up to the last @ of the word.
"""

import os
import re

_HIDDEN = "…"
_NAMED = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
_BEGINS = re.compile(r"([A-Za-z][A-Za-z\d+.-]*)://(?!/)")  # with a third slash it is a file's: nobody logs in
_DATABASES = ("postgres", "mysql", "mariadb", "mssql", "oracle", "cockroachdb")
_ENDS = r"(?=[\s'\"`)\]}>,;:.]*(?:\s|$)|['\"`][,:)\]}])"
_HOST = r"(?:\[[\da-fA-F:.]+\]|[\w.-]+)"
# What follows :// where nobody logs in: a host, and perhaps a port. An @ may come later, in a path.
_NOBODY = re.compile(rf"{_HOST}(?::\d{{1,5}})?(?:[/?#]|{_ENDS})")
# The same of a database, where the @ of a path is none: a password of digits and a slash is more likely.
_NOBODY_DATABASE = re.compile(rf"{_HOST}(?:/|(?::\d{{1,5}})?(?:/[^\s@?#]*)?(?:[?#]|{_ENDS}))")
_SECRET = (
    r"(?:[?&;+]|%[\da-f]{2})(?:\w*passw(?:or)?d|\w*passphrase|\w*pwd|\w*secret|(?:access_|auth_|api_)?token|api_?key"
    r"|scram_\w+_key)(?:=|%3d)"
)
_SECRETS = re.compile(rf"({_SECRET})[^\s&]+", re.IGNORECASE)
_NAMED_SECRETS = re.compile(rf"({_SECRET})([^&]+)", re.IGNORECASE)


def hide(text: str, *addresses: str) -> str:
    """``text`` with every password or token inside of an address as ``…``.

    ``addresses``: those of which is known that they are one each, besides what the environment names.
    """
    named = (os.environ.get(name, "") for name in _NAMED)
    return _hide(text, [one for address in (*addresses, *named) for one in _known(address)])


def _hide(text: str, known: list[tuple[str, str]]) -> str:
    """``text`` with what is known to be secret, and what looks so between, replaced."""
    if known:
        secret, instead = known[0]
        return instead.join(_hide(part, known[1:]) for part in text.split(secret))
    shown, rest = "", text
    while begins := _BEGINS.search(rest):
        shown, rest = shown + rest[: begins.end()], rest[begins.end() :]
        if end := _login(rest, begins[1].lower()):
            shown, rest = shown + _without(rest[:end], begins[1]), rest[end:]
    return _SECRETS.sub(rf"\g<1>{_HIDDEN}", shown + rest)


def _known(address: str) -> list[tuple[str, str]]:
    """What is secret in an address, which ends where the text does, and what is said instead; also as one line has it.

    The last @ in it ends a login, unless it is part of what comes behind the ``?``.
    """
    begins = _BEGINS.match(address)
    found = [(one[0], f"{one[1]}{_HIDDEN}") for one in _NAMED_SECRETS.finditer(address)]
    if begins and (login := address[begins.end() :].rpartition("@")[0]) and not _SECRETS.search(login):
        found.append((f"://{login}@", f"://{_without(login, begins[1])}@"))
    return [(said, instead) for secret, instead in found for said in dict.fromkeys((secret, " ".join(secret.split())))]


def _login(rest: str, scheme: str) -> int:
    """How many characters behind ``://`` are a login; 0 where there is none.

    It goes to the last @ of the word; where no host follows on that, there is a blank in the password.
    """
    nobody = _NOBODY_DATABASE if scheme.startswith(_DATABASES) else _NOBODY
    if nobody.match(rest):
        return 0
    end = 0
    for word in re.finditer(r"\S+", rest.partition("\n")[0]):
        if "@" in word[0]:
            end = word.start() + word[0].rindex("@")
            if _NOBODY.match(rest, end + 1):
                break
    return end


def _without(login: str, scheme: str) -> str:
    """A login without its password; a name alone is hidden where it may be a token."""
    name, colon, _ = login.partition(":")
    if colon:
        return f"{name}:{_HIDDEN}"
    return _HIDDEN if scheme.lower() in ("http", "https") else name
