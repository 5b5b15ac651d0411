"""The shapes of the HTTP interface: answers, refusals, and the request bodies as the OpenAPI page shows them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from registry.contract import AngleErrors, Errors
from serving.crops import CHOICES

EXAMPLE: dict[str, JsonValue] = {
    "azimuth_deg": -12.4,
    "elevation_deg": -6.1,
    "vector": [-0.213522, -0.106264, 0.971142],
}


class GazeAnswer(BaseModel):
    """Where the driver of one picture looks."""

    name: str = Field(description="The client's name for the picture, or its place in the request.")
    azimuth_deg: float = Field(description="Degrees, positive to the driver's right.")
    elevation_deg: float = Field(description="Degrees, positive up.")
    vector: list[float] = Field(
        description="Unit vector: right, up, ahead, as seen from the driver.", min_length=3, max_length=3
    )
    warning: str | None = Field(
        default=None,
        description="What a person should read, such as which of two faces was taken; mostly not there.",
    )


class GazeAnswers(BaseModel):
    """The answers to the pictures of one request, in its order, all by the same version."""

    model: str
    version: int
    stage: str = Field(description="The stage or @alias that is followed; empty for a fixed version.")
    answers: list[GazeAnswer]
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "gaze-tracker",
                "version": 3,
                "stage": "Production",
                "answers": [{"name": "driver.jpg", **EXAMPLE}],
            }
        }
    )


class Problem(BaseModel):
    """Why a request was refused."""

    reason: str
    message: str


class Refusal(BaseModel):
    """The body of every answer that is no success."""

    error: Problem


class ModelAnswer(BaseModel):
    """What answers at present and how good it was when it was registered."""

    model: str
    version: int
    stage: str
    since: str = Field(description="ISO 8601 time of the last change of stage; empty where it is not known.")
    created: str
    errors: Errors = Field(description="Mean errors on held-out samples at registration, degrees.")
    baselines: dict[str, AngleErrors] = Field(
        description="Mean errors of every baseline on the same samples: `constant`, `calibrated` (a·angle + b, the one "
        "in `errors`), `affine` (each angle from both); empty for versions registered before their answers were kept."
    )
    best_calibration: str = Field(
        description="Which of `baselines` the verdict was reached against: the best calibration; empty where they are."
    )
    errors_of_twin: bool = Field(
        description="Whether they are those of a twin: the model itself was trained on these samples too (final=all)."
    )
    rendered_sample_drive: bool
    crop: dict[str, Any]
    input: dict[str, Any]
    output: dict[str, Any]
    digests: dict[str, str]
    precision: str = Field(
        description="What the server computes in: float32, or bfloat16 where that keeps the contract."
    )


class Readiness(BaseModel):
    """Whether pictures can be answered; with ``?verbose`` also how the server stands with the registry."""

    ready: bool
    stale: bool = Field(description="True while the registry does not confirm the version that answers.")
    model: str | None = None
    version: int | None = None
    stage: str | None = None
    precision: str | None = None
    problem: str | None = None
    failed_version: int | None = None
    failures: int | None = None
    loads: int | None = None
    registry_answered: float | None = Field(default=None, description="Unix time of the registry's last answer.")


class Predictions(BaseModel):
    """MLflow's answer: one record per row."""

    predictions: list[dict[str, float]]


_REASONS = {
    400: "The body has not the documented shape.",
    401: "The bearer token is missing or wrong.",
    408: "The body did not arrive in time.",
    413: "The body, or the number of pictures, is over the limit.",
    415: "The content type is not supported.",
    422: "A picture cannot be decoded or is over the pixel limit, or a parameter is wrong.",
    500: "A fault of the server; its log has the cause.",
    503: "Busy, or no version is loaded yet; `Retry-After` says when to try again.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's ``responses`` of a route that may refuse with ``statuses``."""
    return {status: {"model": Refusal, "description": _REASONS[status]} for status in (*statuses, 401, 500)}


_CROP = {"type": "string", "enum": list(CHOICES)}
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
GAZE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "crop": _CROP,
                    },
                    "required": ["image"],
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {
                            "type": "array",
                            "items": {
                                "oneOf": [
                                    {"type": "string", "format": "byte"},
                                    {
                                        "type": "object",
                                        "properties": {
                                            "name": {"type": "string"},
                                            "image": {"type": "string", "format": "byte"},
                                        },
                                        "required": ["image"],
                                        "additionalProperties": False,
                                    },
                                ]
                            },
                        },
                        "crop": _CROP,
                    },
                    "required": ["images"],
                    "additionalProperties": False,
                },
                "example": {"images": [{"name": "driver.jpg", "image": "/9j/4AAQSkZJRg…"}]},
            },
            "image/jpeg": _PICTURE,
            "image/png": _PICTURE,
        },
    }
}
_TABLE = {"type": "object", "additionalProperties": True}
INVOCATIONS_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "dataframe_split": _TABLE,
                        "dataframe_records": {"type": "array", "items": _TABLE},
                        "inputs": {"anyOf": [_TABLE, {"type": "array", "items": _TABLE}]},
                        "instances": {"type": "array", "items": _TABLE},
                    },
                },
                "example": {"dataframe_split": {"columns": ["image"], "data": [["/9j/4AAQSkZJRg…"]]}},
            },
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}
