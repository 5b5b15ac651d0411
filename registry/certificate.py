"""A server's certificate, looked at before MLflow asks: it would ask for four minutes, and a certificate stays refused.

Importing this does not import MLflow.
"""

import os
import re
from functools import cache
from pathlib import Path

from recording.exceptions import RegistryError
from registry.logins import hide

_FILES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_ANSWER_S = 10


def check(address: str) -> None:
    """:class:`RegistryError` where the ``https://…`` server has a certificate that is not trusted here, or a file that
    the environment names for it is not there; once it was trusted it is not looked at again.

    A server that does not answer is left to MLflow's patience.
    """
    from mlflow.utils.credentials import get_default_host_creds  # as MLflow will ask

    given = get_default_host_creds(address)  # type: ignore[no-untyped-call]
    if given.verify is False:
        return
    # The library that MLflow asks with knows two more, where MLflow is told of none.
    for variable in (*_FILES, *(_BUNDLES if given.verify is True else ())):
        if (path := os.environ.get(variable)) and not Path(path).exists():
            raise RegistryError(
                f"{variable}={path}: there is no such file; give the path of a certificate, or unset the variable"
            )
    _shake_hands(address, given.verify, given.client_cert_path)


@cache
def _shake_hands(address: str, verify: bool | str, own: str | None) -> None:
    import requests

    try:
        requests.head(address, timeout=_ANSWER_S, verify=verify, cert=own, allow_redirects=False).close()
    except requests.exceptions.SSLError as error:
        if line := refused(" ".join(str(error).split())):
            raise RegistryError(f"MLflow at {hide(address)}: {line}") from error
    except (requests.exceptions.RequestException, OSError):
        return  # MLflow waits for a server that is down, and says so


def refused(text: str) -> str:
    """What is wrong with a server's certificate and what to do, from what was raised; "" where it is not that."""
    if "WRONG_VERSION_NUMBER" in text:
        return "it does not speak https; write http:// in MLFLOW_TRACKING_URI"
    if "CERTIFICATE_VERIFY_FAILED" not in text:
        return ""
    found = re.search(r"certificate verify failed: (.*?)\.? \(_ssl", text)
    return (
        f"its certificate is not trusted here{f' ({found[1]})' if found else ''}; set MLFLOW_TRACKING_SERVER_CERT_PATH "
        "to the CA's file"
    )
