"""Passwords inside of addresses, such as ``https://ann:secret@mlflow.example``: what is said goes without."""

import re

_HIDDEN = "…"
_PASSWORDS = (
    re.compile(r"((?:postgresql|mysql|mssql)[\w+]*://[^\s/:@]*:)[^\s@]+(?=@)"),  # there it may hold a slash
    re.compile(r"(://[^\s/:@]*:)[^\s/]+(?=@)"),
    re.compile(r"([?&](?:password|sslpassword|passwd|pwd)=)[^\s&'\"]+"),
)


def hide(text: str) -> str:
    """``text`` with every password inside of an address as ``…``."""
    for password in _PASSWORDS:
        text = password.sub(rf"\g<1>{_HIDDEN}", text)
    return text
