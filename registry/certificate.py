"""A server's certificate and one's own, looked at before MLflow asks: it would ask for four minutes, and what is wrong
with them stays wrong.

Importing this does not import MLflow.
"""

import os
import re
import socket
import ssl
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recording.exceptions import RegistryError
from registry.logins import hide

_SERVER, _OWN = "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_ANSWER_S = 10
_PLAIN_ANSWER_S = 3
_LAST_WORD_S = 1
_ABORTED = "Connection aborted"  # as requests says it
# A connection that ended, or took too long: so it is with a server that is being started again, behind a proxy too.
_CLOSED = ("EOF", "TLS/SSL connection has been closed")


def check(address: str) -> None:
    """:class:`RegistryError` where the ``https://…`` server has a certificate that is not trusted here, or wants one
    and gets none, or a file that the environment names for it is not there or holds none; or where ``http://…`` is
    asked of a server that speaks https. Once all was well it is not looked at again.

    A server that does not answer is left to MLflow's patience.
    """
    if not address.lower().startswith("https://"):
        _ask_plainly(address)
        return
    from mlflow.utils.credentials import get_default_host_creds  # as MLflow will ask

    given = get_default_host_creds(address)  # type: ignore[no-untyped-call]
    # The library that MLflow asks with knows two more, where MLflow is told of none.
    looked_at = (_SERVER, *_BUNDLES) if given.verify is True else (_SERVER,)
    variable = next((name for name in looked_at if os.environ.get(name)), None)
    if given.verify is not False and variable:  # the first one counts
        _check_trusted(variable, Path(os.environ[variable]))
    if given.client_cert_path:
        _check_own(Path(given.client_cert_path))
    _shake_hands(address, given.verify, given.client_cert_path)


def _check_trusted(variable: str, path: Path) -> None:
    """:class:`RegistryError` where a file, or a folder, of certificates that are to be trusted is none."""
    _check_there(variable, path)
    if path.is_dir():
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise RegistryError(f"{variable}={path}: {_no_certificate(path.read_bytes(), path)}") from None


def _check_own(path: Path) -> None:
    """:class:`RegistryError` where a file does not hold a certificate and its key, as MLflow wants both."""
    _check_there(_OWN, path)
    if path.is_dir():
        raise RegistryError(f"{_OWN}={path}: is a folder; give the path of a file with a certificate and its key")
    asked: list[bool] = []

    def passphrase() -> str:
        asked.append(True)
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, password=passphrase)
    except ssl.SSLError as error:
        if asked and _has_terminal():
            return  # whoever sits there is asked for it when MLflow opens the file
        if asked:
            raise RegistryError(
                f"{_OWN}={path}: its key has a passphrase, and there is no terminal to ask for it; give a file with "
                "the key without one (`openssl pkey -in client.key`)"
            ) from None
        raise RegistryError(f"{_OWN}={path}: {_no_pair(path.read_bytes(), error)}") from None


def _has_terminal() -> bool:
    try:
        Path("/dev/tty").open("rb").close()
    except OSError:
        return False
    return True


def _check_there(variable: str, path: Path) -> None:
    try:
        there = path.exists()
        if there and not path.is_dir():
            path.open("rb").close()
    except OSError as error:
        raise RegistryError(
            f"{variable}={path}: cannot be read ({error.strerror}); give this user the right to, or unset the variable"
        ) from None
    if not there:
        raise RegistryError(
            f"{variable}={path}: there is no such file; give the path of a certificate, or unset the variable"
        )


def _no_certificate(content: bytes, path: Path) -> str:
    """Why a file gives no certificate, and what to do."""
    if b"PRIVATE KEY-----" in content:
        return "holds a private key and no certificate; give the path of the certificate"
    if content.startswith(b"\x30"):  # how every structure in DER begins
        return (
            "is a certificate in the format DER, and PEM is wanted; write it as that "
            f"(`openssl x509 -inform der -in {path} -out {path.with_suffix('.pem')}`) and give its path"
        )
    return "holds no certificate that can be read (-----BEGIN CERTIFICATE-----); give the path of one in the format PEM"


def _no_pair(content: bytes, error: ssl.SSLError) -> str:
    """Why a file gives no certificate with its key, and what to do."""
    if b"PRIVATE KEY-----" not in content and b"CERTIFICATE-----" in content:
        return "holds no private key; give a file with both (`cat client.pem client.key > both.pem`)"
    if b"CERTIFICATE-----" not in content and b"PRIVATE KEY-----" in content:
        return "holds a key and no certificate; give a file with both (`cat client.pem client.key > both.pem`)"
    if "KEY_VALUES_MISMATCH" in str(error):
        return "its key is of another certificate; give a file with a certificate and its own key"
    return "holds no certificate with its key that can be read; give a file in the format PEM with both"


@cache
def _shake_hands(address: str, verify: bool | str, own: str | None) -> None:
    import requests

    try:
        _ask(address, _ANSWER_S, verify=verify, cert=own)
        return
    except (requests.exceptions.Timeout, requests.exceptions.ProxyError):
        return  # MLflow waits for a server, or a proxy, that is slow or down, and says so
    except requests.exceptions.ConnectionError as error:
        line = _told(str(error))
        # Some say why only after the handshake, and close before that is read.
        if not line and any(words in str(error) for words in (*_CLOSED, _ABORTED)):
            line = _told(_connect(address, own))
    except (requests.exceptions.RequestException, OSError, ValueError):  # ValueError: of a name that can be no host's
        return
    if line:
        raise RegistryError(f"MLflow at {hide(address, address)}: {line}")


def _told(raised: str) -> str:
    return refused(" ".join(raised.split()))


@cache
def _ask_plainly(address: str) -> None:
    """:class:`RegistryError` where an ``http://…`` server speaks https."""
    import requests

    try:
        if _ask(address, _PLAIN_ANSWER_S) != 400:  # so some of those answer that do notice it
            return
    except (requests.exceptions.Timeout, requests.exceptions.ProxyError):
        return
    except (requests.exceptions.RequestException, OSError, ValueError) as error:
        if _ABORTED not in str(error):
            return
    if _speaks_tls(_connect(address)):
        raise RegistryError(
            f"MLflow at {hide(address, address)}: it speaks https; write https:// in MLFLOW_TRACKING_URI"
        )


def _ask(address: str, seconds: int, **options: Any) -> int:
    """The status with which a server answers a question that asks for nothing."""
    import requests

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unverified HTTPS request")  # MLflow will ask, and say it, itself
        with requests.head(address, timeout=seconds, allow_redirects=False, **options) as answer:
            return answer.status_code


def _connect(address: str, own: str | None = None) -> str:
    """What goes wrong when TLS is spoken with the server and nothing is asked; "" where nothing does."""
    parts = urlsplit(address)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whether it is trusted is looked at elsewhere
    try:
        if own:
            context.load_cert_chain(own)
        place = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        with (
            socket.create_connection(place, _PLAIN_ANSWER_S) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            secure.settimeout(_LAST_WORD_S)
            with suppress(TimeoutError):
                secure.recv(1)
            return ""
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _speaks_tls(said: str) -> bool:
    """Whether what :func:`_connect` gave is of a server that speaks TLS: all goes well, or it refuses in its words."""
    return not said or "ALERT" in said


def refused(text: str) -> str:
    """What is wrong with a server's certificate, or with one's own, and what to do, from what was raised.

    "" where it is not that.
    """
    if "WRONG_VERSION_NUMBER" in text:
        return "it does not speak https; write http:// in MLFLOW_TRACKING_URI"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        found = re.search(r"certificate verify failed: (.*?)\.? \(_ssl", text)
        return _not_trusted(found[1] if found else "")
    found = re.search(r"\[(?:SSL|X509|PEM|ASN1)(?:: \w+)?\] (.*?) \(_ssl", text)
    if found is None or any(words in text for words in (*_CLOSED, "timed out")):
        return ""
    return _no_agreement(found[1])


def _not_trusted(why: str) -> str:
    """What to do about a server's certificate that was refused here, by the reason."""
    said = f" ({why})" * bool(why)
    if "has expired" in why:
        return f"its certificate is not valid any more{said}; renew it on the server, or set the clock of this machine"
    if "not yet valid" in why:
        return f"its certificate is not valid yet{said}; set the clock of this machine, or of the one that made it"
    if "mismatch" in why:
        return (
            f"its certificate is of another name{said}; write a name that it is for in MLFLOW_TRACKING_URI, or have "
            "one made for this name"
        )
    if not re.search("self[- ]signed|issuer|verify the first certificate", why):
        return f"its certificate is not trusted here{said}; have another one made for the server"
    if path := os.environ.get(_SERVER):
        return f"its certificate is not trusted here{said}; {_SERVER}={path} is not the file of its CA: give that one"
    return f"its certificate is not trusted here{said}; set {_SERVER} to the CA's file"


def _no_agreement(why: str) -> str:
    """What to do about a secure connection that the server, or this side, has refused, by the reason."""
    path = os.environ.get(_OWN)
    if "handshake failure" not in why and not ("alert" in why and re.search("certificate|unknown ca", why)):
        return (
            f"no secure connection comes about ({why}); look at its log, and check MLFLOW_TRACKING_URI and the files "
            f"that {_SERVER} and {_OWN} name"
        )
    if path:
        return f"it does not take the certificate of {_OWN}={path} ({why}); give one that its CA has made"
    wants = "it may want" if "handshake failure" in why else "it wants"
    return f"{wants} a certificate of whoever asks ({why}); set {_OWN} to a file with one and its key"
