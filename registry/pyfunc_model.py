"""The registered version as MLflow runs it: encoded pictures in, angles out.

MLflow stores this file with the version ("model from code") and runs it at load; the package that it came with
is checked against its contract first. Nothing is unpickled.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from recording import exceptions
from registry import contract

# How a JPEG, a PNG and a data URI begin in base64.
_BASE64 = (b"/9j/", b"iVBORw0KGgo", b"data:")


class GazePyfunc(PythonModel):
    """A table with one binary column ``image`` (JPEG or PNG bytes) → columns ``azimuth_deg``, ``elevation_deg``.

    The pictures show the driver view, of which the network reads what the contract says.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Verify the package and open its network; ``ContractError`` names the file at fault."""
        folder = Path(context.artifacts[contract.FILE_NAME]).parent
        self._contract, self._network = contract.load(folder)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One row of angles (degrees) per picture; ``InputError`` names the row that is no picture."""
        if "image" not in getattr(model_input, "columns", ()):
            raise exceptions.InputError("the table has no column 'image'; put the JPEG or PNG bytes there")
        names = [f"image in row {row}" for row in range(len(model_input))]
        encoded = [_bytes(cell, name) for cell, name in zip(model_input["image"], names, strict=True)]
        answers = self._network.predict_encoded(encoded, names, self._contract.crop.cut)
        return pd.DataFrame(answers, columns=["azimuth_deg", "elevation_deg"], index=model_input.index)


def _bytes(cell: Any, name: str) -> bytes:
    """The bytes in a cell of the table; MLflow's schema lets anything through."""
    if isinstance(cell, bytes | bytearray | memoryview):
        given = bytes(cell)
        if given.startswith(_BASE64):
            raise exceptions.InputError(
                f"{name}: neither JPEG nor PNG but base64 text ({given[:12]!r}…); MLflow's server decodes base64 (the "
                "standard alphabet, padded, without 'data:') in dataframe_split and dataframe_records only: send one "
                "of these, not inputs or instances; from Python, decode it (base64.b64decode)"
            )
        return given
    advice = "decode its base64 (base64.b64decode)" if isinstance(cell, str) else "give what a JPEG or PNG file holds"
    raise exceptions.InputError(f"{name}: is of the type {type(cell).__name__}, not bytes; {advice}")


set_model(GazePyfunc())
