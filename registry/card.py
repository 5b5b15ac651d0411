"""The model card: what a person should know about a version before it goes into a car, in Markdown."""

from recording.relative_to import HEAD, UNKNOWN
from registry.baseline_errors import BaselineErrors
from registry.contract import AngleErrors, Contract
from registry.rule import BASELINES, CONSTANT

# PostgreSQL keeps 5,000 characters of a description.
MAX_LENGTH = 5000
DATASET = "dataset"
"""What a base was trained on where that was a public data set and no drive: a name in the contract's ``training``."""


def write(sealed: Contract, extra: str = "", baselines: BaselineErrors | None = None) -> str:
    """The card of a version: data, errors beside the ``baselines``, scenarios, limits, how to load it.

    Without these it has the ones that the contract states.
    """
    parts = [
        _summary(sealed),
        "## Errors on held-out samples\n\n" + _errors(sealed, baselines or BaselineErrors()),
        "## Scenarios\n\n" + _scenarios(sealed) if sealed.scenarios else "",
        extra.strip(),
        "## How it was made\n\n" + _made(sealed),
        "## Limits\n\n" + _limits(sealed),
        "## Load it\n\n" + _load(sealed),
    ]
    text = "\n\n".join(part for part in parts if part)
    if len(text) > MAX_LENGTH and extra:
        return write(sealed, baselines=baselines)  # what the caller added is also on the run
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def _summary(sealed: Contract) -> str:
    if DATASET in sealed.training:
        return (
            f"Gaze angles from one picture of a face, trained on {sealed.training[DATASET]}: a base to fine-tune from, "
            "adapted to no car."
        )
    where = (
        "the **rendered sample drive** (not a real recording)" if sealed.rendered_sample_drive else "a recorded drive"
    )
    return (
        f"Gaze angles of a driver from one dash camera picture. Adapted to {where}, layout "
        f"`{sealed.crop.layout}`, view `{sealed.crop.view}`, face rectangle `{sealed.crop.face_in_words}`."
    )


def _errors(sealed: Contract, baselines: BaselineErrors) -> str:
    errors = sealed.errors
    means = {"calibrated": errors.calibrated} | baselines.means
    rows = [
        ("**this model**", errors.model),
        ("base model, before", errors.base),
        *(
            (
                f"{BASELINES.get(name, name)} of the base{' (the best: the one to beat)' * (name == baselines.best)}",
                found,
            )
            for name, found in means.items()
            if name != CONSTANT
        ),
        ("constant", errors.constant),
    ]
    note = f"{errors.samples} samples, split `{errors.split}`."
    if errors.leaking:
        note += " **This split leaks:** near copies of these frames were trained on, the figures are too good."
    if sealed.has_twin:
        note += (
            " **It was trained on these samples too:** the figures are those of its twin, trained in the same way "
            "without them and their neighbours, which travels with it."
        )
    lines = ["| mean error | azimuth | elevation | 3-D angle |", "|---|---|---|---|"]
    lines += [f"| {name} | {_cells(found)} |" for name, found in rows if found is not None]
    return "\n".join(lines) + "\n\n" + note


def _scenarios(sealed: Contract) -> str:
    lines = ["| scenario | samples | azimuth | elevation | 3-D angle |", "|---|---|---|---|---|"]
    for scenario in sealed.scenarios:
        cells = _cells(scenario.errors) if scenario.errors else "– | – | –"
        lines.append(f"| {scenario.number}. {scenario.description} | {scenario.samples} | {cells} |")
    return "\n".join(lines)


def _made(sealed: Contract) -> str:
    settings = ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in sealed.training.items()
        if value != ""
    )
    known = sealed.digests.model_dump(exclude_none=True)
    digests = ", ".join(f"{name} `{digest[:12]}`" for name, digest in known.items())
    return f"Training: {settings or 'not stated'}. Digests: {digests}."


def _limits(sealed: Contract) -> str:
    if DATASET in sealed.training:
        return (
            "- It knows the persons and cameras of that data set, and faces cut out as tightly. Its angles count from "
            "the axis of a camera that looks at the face."
        )
    limits = [
        "It knows the camera, the place and the people of its drive; on another camera or driver, measure again.",
        "Angles count from the zero of the measured angles that it was trained on, not from the camera's axis. "
        "Azimuth is positive to the driver's right, elevation up.",
        _relative(sealed),
    ]
    if sealed.rendered_sample_drive:
        limits.append("It was trained on rendered pictures: it shows how the software works, not how a real car looks.")
    return "\n".join(f"- {limit}" for limit in limits)


def _relative(sealed: Contract) -> str:
    said = f"**Angles are relative to {sealed.output.relative_to}.**"
    if sealed.output.label_frame == HEAD:
        return f"{said} They say how the eyes stand in the head, as the glasses measured it, not where in the car."
    return said if sealed.output.label_frame == UNKNOWN else said.replace("*", "")


def _load(sealed: Contract) -> str:
    return (
        "```python\n"
        f'model = mlflow.pyfunc.load_model("models:/{sealed.model_name}/Production")\n'
        'model.predict(pandas.DataFrame({"image": [open("driver.jpg", "rb").read()]}))  # azimuth_deg, elevation_deg\n'
        "```"
    )


def _cells(errors: AngleErrors) -> str:
    return " | ".join(
        f"{value:.2f}°" for value in (errors.azimuth_error_deg, errors.elevation_error_deg, errors.angular_error_deg)
    )
