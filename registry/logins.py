"""Passwords inside of addresses, such as ``https://ann:secret@mlflow.example``: what is said goes without.

A name without a password is hidden as well where web servers are asked: many take a token there.
"""

import re

_HIDDEN = "…"
_PASSWORDS = (
    re.compile(r"((?:postgresql|mysql|mssql)[\w+]*://[^\s/:@]*:)[^\s@]+(?=@)"),  # there it may hold a slash
    re.compile(r"(://[^\s/:@]*:)[^\s/]+(?=@)"),
    re.compile(r"(https?://)[^\s/:@]+(?=@)"),
    re.compile(r"([?&](?:password|sslpassword|passwd|pwd)=)[^\s&'\"]+"),
)


def hide(text: str) -> str:
    """``text`` with every password or token inside of an address as ``…``."""
    for password in _PASSWORDS:
        text = password.sub(rf"\g<1>{_HIDDEN}", text)
    return text
