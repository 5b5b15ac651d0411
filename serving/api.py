"""The HTTP interface: gaze angles from pictures, by whatever version is in the followed stage."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version as installed
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving import forms, payloads, stream, wishes
from serving.crops import CropChoice
from serving.gatekeeper import Gatekeeper, refusal
from serving.limits import Limits, Refused
from serving.metrics import Metrics
from serving.payloads import Asked, Encoded
from serving.predictor import Predictor
from serving.schemas import (
    GAZE_BODY,
    INVOCATIONS_BODY,
    GazeAnswers,
    ModelAnswer,
    Predictions,
    Readiness,
    refusals,
)
from serving.service import Service, gaze

log = logging.getLogger("serving.api")

PICTURE_TYPES = ("image/jpeg", "image/jpg", "image/pjpeg", "image/png", "image/x-png", "application/octet-stream")
"""Content types of a raw picture; the registered two, and what clients write for them. Which it is, its bytes say."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def build(*, service: Service, limits: Limits, metrics: Metrics, token: str = "") -> FastAPI:
    """The application around a started or not yet started follower; its lifetime starts and ends the follower."""

    @asynccontextmanager
    async def lifetime(_: FastAPI) -> AsyncIterator[None]:
        service.follower.start()
        yield
        service.close()

    app = FastAPI(
        title="Gaze server",
        version="1",
        description="Gaze angles of drivers, in degrees: azimuth positive to the driver's right, elevation positive "
        "up. The version that answers is the one in the followed stage of the model registry.",
        lifespan=lifetime,
    )
    app.add_middleware(Gatekeeper, limits=limits, metrics=metrics, token=token)
    _add_failures(app, metrics)
    _add_gaze(app, service)
    _add_invocations(app, service)
    _add_state(app, service, metrics)

    @app.websocket("/v1/stream")
    async def camera(socket: WebSocket) -> None:
        await stream.answer_latest(socket, service)

    @app.api_route("/v1/stream", methods=[*METHODS], include_in_schema=False)
    async def no_camera() -> None:
        said = (
            "/v1/stream is a WebSocket: open it as one (ws://… or wss://…, by GET); a proxy on the way must pass the "
            "headers Upgrade and Connection on"
        )
        raise HTTPException(426, said, {"Upgrade": "websocket", "Connection": "Upgrade"})

    return app


def _add_failures(app: FastAPI, metrics: Metrics) -> None:
    def answer(refused: Refused) -> JSONResponse:
        metrics.rejected.labels(refused.reason).inc()
        headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
        return JSONResponse(refusal(refused), refused.status, headers)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def parameter(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return answer(Refused(422, f"{first['loc'][-1]}: {first['msg']}", reason="parameter"))

    @app.exception_handler(HTTPException)
    async def route(_: Request, error: HTTPException) -> JSONResponse:
        response = answer(Refused(error.status_code, str(error.detail), reason="route"))
        response.headers.update(error.headers or {})
        return response


def _add_gaze(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/gaze",
        response_model=GazeAnswers,
        responses=refusals(400, 408, 413, 415, 422, 503),
        openapi_extra=GAZE_BODY,
        summary="Gaze angles of one or many pictures",
    )
    async def answer_gaze(
        request: Request,
        crop: Annotated[
            CropChoice,
            Query(
                description="driver: the pictures show the driver. composite: they are composite frames, take the "
                "driver view. face: they show the face alone. auto: composite where the three-view proportions say so. "
                "It may stand in the body instead, as a form's field or JSON's key `crop`."
            ),
        ] = "driver",
    ) -> Response:
        # The parameter describes and checks the address; of several it holds the last, so all are read here.
        said = wishes.in_address(request.query_params)
        asked = await _asked(request, service)
        images = asked.pictures
        warnings: dict[int, dict[str, str]] = {}

        def tell(place: int, line: str) -> None:
            warnings[place] = {"warning": line}

        predictor, angles = await service.answer(images, crop=wishes.crop([*said, *asked.crops]), tell=tell)
        answers = [
            {"name": image.name} | answer | warnings.get(place, {})
            for place, (image, answer) in enumerate(zip(images, gaze(angles), strict=True))
        ]
        return JSONResponse(predictor.identity | {"answers": answers}, headers=_origin(predictor))


def _add_invocations(app: FastAPI, service: Service) -> None:
    @app.post(
        "/invocations",
        response_model=Predictions,
        responses=refusals(400, 408, 413, 415, 503),
        openapi_extra=INVOCATIONS_BODY,
        summary="As `mlflow models serve` answers it",
    )
    async def invocations(request: Request) -> Response:
        kind = _content_type(request, strict=True)
        if kind not in ("application/json", "text/csv"):
            raise Refused(415, "send application/json or text/csv", reason="content type")
        body = await request.body()
        payloads.check_unpacked(body)
        try:
            wishes.in_address(request.query_params, ())
            images = await service.in_background(
                payloads.from_table if kind == "application/json" else payloads.from_csv, body
            )
            predictor, angles = await service.answer(images)
        except Refused as refused:
            # MLflow's server has one status for everything that is wrong with the input.
            if refused.status == 422:
                refused.status = 400
            raise
        rows = [{"azimuth_deg": float(azimuth), "elevation_deg": float(elevation)} for azimuth, elevation in angles]
        return JSONResponse({"predictions": rows}, headers=_origin(predictor))


def _add_state(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/v1/model", response_model=ModelAnswer, responses=refusals(503), summary="What answers at present")
    async def model() -> ModelAnswer:
        predictor = service.follower.current
        if predictor is None:
            raise Refused(503, "no version is loaded yet; see /readyz?verbose", reason="not ready", retry_after=5)
        contract = predictor.contract
        return ModelAnswer(
            model=predictor.model,
            version=predictor.version,
            stage=predictor.label,
            since=predictor.since,
            created=contract.created.isoformat(),
            errors=contract.errors,
            baselines=predictor.baselines.means,
            best_calibration=predictor.baselines.best,
            errors_of_twin=contract.has_twin,
            rendered_sample_drive=contract.rendered_sample_drive,
            crop=contract.crop.model_dump(),
            input=contract.input.model_dump(),
            output=contract.output.model_dump(),
            digests=contract.digests.model_dump(exclude_none=True),
            precision=predictor.precision,
        )

    @app.get("/livez", summary="200 while the process answers")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get(
        "/readyz",
        response_model=Readiness,
        response_model_exclude_none=True,
        responses={503: {"model": Readiness, "description": "No version is loaded yet."}, **refusals()},
        summary="200 while pictures are answered",
    )
    async def ready(response: Response, request: Request) -> Readiness:
        response.status_code = 200 if service.follower.current else 503
        return _readiness(service, verbose="verbose" in request.query_params)

    @app.get("/ping", include_in_schema=False)
    @app.get("/health", include_in_schema=False)
    async def ping() -> Response:
        """MLflow's names of the same question, with its answer."""
        return Response("\n", 200 if service.follower.current else 404, media_type="application/json")

    @app.get("/version", include_in_schema=False)
    async def mlflow_version() -> Response:
        return Response(installed("mlflow"), media_type="application/json")

    @app.get("/metrics", include_in_schema=False)
    async def exposition() -> Response:
        content = await service.in_background(metrics.exposition)
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")


def _readiness(service: Service, *, verbose: bool) -> Readiness:
    predictor, standing = service.follower.current, service.follower.standing
    answer = Readiness(ready=predictor is not None, stale=standing.stale)
    if not verbose:
        return answer
    details = {
        "problem": standing.problem,
        "failed_version": standing.failed_version,
        "failures": standing.failures,
        "loads": standing.loads,
        "registry_answered": standing.checked,
    }
    if predictor is not None:
        details |= predictor.identity | {"precision": predictor.precision}
    return answer.model_copy(update=details)


async def _asked(request: Request, service: Service) -> Asked:
    kind = _content_type(request)
    body = await request.body()
    payloads.check_unpacked(body)
    if kind == "application/json":
        return await service.in_background(payloads.from_json, body)
    if kind == "multipart/form-data":
        return await service.in_background(forms.read, body, request.headers["content-type"], service.limits)
    if kind in PICTURE_TYPES:
        return Asked([Encoded(body, "image 1")] if body else [])
    raise Refused(415, "send multipart/form-data, application/json, image/jpeg or image/png", reason="content type")


def _content_type(request: Request, *, strict: bool = False) -> str:
    kind, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    said = {parameter.replace('"', "") for parameter in parameters} - {"", "charset=utf-8"}
    if strict and kind == "text/csv":  # RFC 4180, section 3
        if "header=absent" in said:
            raise Refused(415, "a CSV without a header is not read; name the columns in line 1", reason="content type")
        said -= {"header=present"}
    if strict and said:
        raise Refused(415, "only charset=utf-8 is supported", reason="content type")
    return kind


def _origin(predictor: Predictor) -> dict[str, str]:
    # Header values are Latin-1; a model's name may be anything.
    return {
        "X-Model-Name": json.dumps(predictor.model)[1:-1],
        "X-Model-Version": str(predictor.version),
    }
