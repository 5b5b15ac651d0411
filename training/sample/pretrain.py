"""Training of the sample's base checkpoint on the lab domain, from random weights.

Most epochs run on pictures of half the side (a quarter of the cost), the last ones at the network's own size: the
coarse picture teaches head pose and where the eyes are, the fine one where the iris is (progressive resizing, as in
Touvron et al. 2019, "Fixing the train-test resolution discrepancy").
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import safetensors.torch
import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from recording import angles, files
from recording.exceptions import InputError
from recording.processors import cores
from training.learning import model
from training.sample.rendering import lab
from training.sample.sample_drive import BASE_CHECKPOINT

PEOPLE = 48  # rendered lab people that train the base …
HELD_OUT_PEOPLE = 6  # … and others that it is judged on
HELD_OUT_IMAGES = 50  # per person
COARSE = 112
FINE_EPOCHS = 2  # the last epochs, at full size
BATCH = 32
LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 1e-3


@dataclass(frozen=True)
class Faces:
    """``pictures`` (n, 224, 224, 3) uint8 RGB and ``targets`` (n, 2) ``(pitch, yaw)`` radians."""

    pictures: np.ndarray
    targets: np.ndarray


def faces(people: range, images: int, seed: int) -> Faces:
    """``images`` lab pictures shared out evenly over those lab people, rendered on every core."""
    share = [images // len(people) + (k < images % len(people)) for k in range(len(people))]
    out = Faces(np.empty((images, lab.SIZE, lab.SIZE, 3), np.uint8), np.empty((images, 2)))
    starts = np.cumsum([0, *share])

    def fill(k: int) -> None:
        (head,) = lab.people(people[k : k + 1])
        for at, (picture, target) in enumerate(lab.pictures(head, share[k], seed), start=starts[k]):
            out.pictures[at], out.targets[at] = picture, target

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores()) as pool:
        done = pool.map(fill, range(len(people)))
        for _ in tqdm(done, total=len(people), desc="rendering lab people", unit="person"):
            pass
    return out


def pretrain(images: int, epochs: int, seed: int, out: Path, device: str = "auto") -> dict[str, float]:
    """Train the base from scratch and write it to ``out`` (float16 safetensors).

    ``epochs`` includes the :data:`FINE_EPOCHS` at full size. Returns the errors on people that were not trained on,
    in degrees, as metric names → values; logs them to the active MLflow run if there is one. Raises
    :class:`InputError` when a number is out of range or ``out`` cannot be written.
    """
    _check(images, epochs, out)
    started = time.monotonic()
    chosen = _device(device)
    if mlflow.active_run():
        # What `mlflow run` was given is logged already; this adds what it was not.
        mlflow.log_params({"people": PEOPLE, "held_out_people": HELD_OUT_PEOPLE, "learning_rate": LEARNING_RATE})
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 3])
    train = faces(range(PEOPLE), images, seed)
    held_out = faces(range(PEOPLE, PEOPLE + HELD_OUT_PEOPLE), HELD_OUT_PEOPLE * HELD_OUT_IMAGES, seed)
    network = model.build()
    network.to(chosen, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
    _fit(network, train, held_out, epochs, rng, chosen)
    errors = measure(network, held_out, chosen)
    errors["seconds"] = time.monotonic() - started
    _write(network, out)
    if mlflow.active_run():
        mlflow.log_metrics(errors)
        mlflow.log_artifact(str(out))
    return errors


def learn(
    network: nn.Module,
    answers: torch.Tensor,
    targets: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> torch.Tensor:
    """One step of a base's training from (n, 2) ``answers`` and ``targets`` in radians; its loss, detached."""
    # In tenths of a radian, so that the quadratic part of the loss ends near 3°.
    loss = functional.smooth_l1_loss(answers.float() * 10, targets * 10, beta=0.5)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    schedule.step()
    return loss.detach()


def _fit(
    network: nn.Module, train: Faces, held_out: Faces, epochs: int, rng: np.random.Generator, device: torch.device
) -> None:
    """The loop: one cycle of the learning rate over all epochs, coarse pictures first."""
    steps = -(-len(train.targets) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=steps * epochs, pct_start=0.15, final_div_factor=50
    )
    for epoch in range(epochs):
        size = lab.SIZE if epoch >= epochs - FINE_EPOCHS else COARSE
        network.train()
        total = 0.0
        for inputs, targets in tqdm(
            _batches(train, size, rng, device),
            total=steps,
            desc=f"epoch {epoch + 1}/{epochs} at {size} px",
            leave=False,
        ):
            with torch.autocast(device.type, dtype=torch.bfloat16):
                outputs = network(inputs)
            total += learn(network, outputs, targets, optimiser, schedule).item()
        errors = measure(network, held_out, device, size)
        tqdm.write(
            f"epoch {epoch + 1}/{epochs} at {size} px: loss {total / steps:.3f}, people not trained on: "
            f"azimuth {errors['held_out/azimuth_error_deg']:.1f}°, "
            f"elevation {errors['held_out/elevation_error_deg']:.1f}°"
        )
        if mlflow.active_run():
            mlflow.log_metrics({"train/loss": total / steps, **errors}, step=epoch)


def _batches(
    train: Faces, size: int, rng: np.random.Generator, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch of augmented batches: (n, 3, size, size) in [0, 1] and (n, 2) radians."""
    order = rng.permutation(len(train.targets))
    for start in range(0, len(order), BATCH):
        rows = np.sort(order[start : start + BATCH])
        pictures = torch.from_numpy(train.pictures[rows]).to(device).permute(0, 3, 1, 2).float().div_(255.0)
        targets = torch.from_numpy(train.targets[rows]).float().to(device)
        yield augment(pictures, targets, size, rng)


def augment(
    pictures: torch.Tensor, targets: torch.Tensor, size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift, scale and stretch the crop, change light and colour, mirror half of it (which negates the yaw).

    (n, 3, 224, 224) → (n, 3, size, size) in [0, 1]; targets (n, 2) ``(pitch, yaw)``.
    """
    count, device = len(pictures), pictures.device

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, *shape)).astype(np.float32)).to(device)

    if size < pictures.shape[-1]:
        pictures = functional.interpolate(pictures, (size, size), mode="area")
    mirrored = draw(0, 1) < 0.5
    zoom, stretch = draw(0.85, 1.2), draw(0.93, 1.07)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = torch.where(mirrored, -1.0, 1.0) * zoom * stretch
    theta[:, 1, 1] = zoom / stretch
    theta[:, :, 2] = draw(-0.12, 0.12, 2)
    grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    pictures = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    gamma = draw(0.65, 1.5, 1, 1, 1)
    pictures = pictures.clamp_min(1e-4) ** gamma * draw(0.75, 1.2, 1, 1, 1) * draw(0.9, 1.1, 3, 1, 1)
    pictures = pictures + draw(0.0, 0.03, 1, 1, 1) * torch.from_numpy(
        rng.standard_normal(pictures.shape, dtype=np.float32)
    ).to(device)
    targets = torch.stack([targets[:, 0], torch.where(mirrored, -targets[:, 1], targets[:, 1])], dim=1)
    return pictures.clamp(0.0, 1.0).contiguous(memory_format=torch.channels_last), targets


@torch.inference_mode()
def measure(network: nn.Module, held_out: Faces, device: torch.device, size: int = lab.SIZE) -> dict[str, float]:
    """Mean absolute errors (degrees) of ``network`` on ``held_out``, as metric names → values."""
    network.eval()
    answers = []
    for start in range(0, len(held_out.targets), 50):
        batch = torch.from_numpy(held_out.pictures[start : start + 50]).to(device).permute(0, 3, 1, 2).float() / 255.0
        if size < batch.shape[-1]:
            batch = functional.interpolate(batch, (size, size), mode="area")
        answers.append(network(batch.contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
    predicted, true = (angles.pitch_yaw_to_deg(a) for a in (np.concatenate(answers), held_out.targets))
    azimuth, elevation = angles.absolute_errors(predicted, true).mean(axis=0)
    return {
        "held_out/azimuth_error_deg": float(azimuth),
        "held_out/elevation_error_deg": float(elevation),
        "held_out/angular_error_deg": float(angles.angular_errors(predicted, true).mean()),
    }


def _write(network: nn.Module, out: Path) -> None:
    """The state_dict at 16 bit, whole or not at all."""
    state = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }

    def write(unfinished: Path) -> None:
        safetensors.torch.save_file(state, unfinished, metadata={"format": "pt"})
        unfinished.chmod(0o644)  # safetensors writes for the owner alone

    files.write(out, write)


def _check(images: int, epochs: int, out: Path) -> None:
    if images < PEOPLE:
        raise InputError(f"images is {images}: every one of the {PEOPLE} lab people needs one; give {PEOPLE} or more")
    if epochs < FINE_EPOCHS:
        raise InputError(f"epochs is {epochs}: the last {FINE_EPOCHS} run at full size; give {FINE_EPOCHS} or more")
    if out.suffix != ".safetensors" or out.is_dir():
        raise InputError(f"out {out}: the base is written as one file; give a name that ends in .safetensors")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out {out}: its folder cannot be made ({error.strerror}); choose another one") from None


def _device(name: str) -> torch.device:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, usable in there.items() if usable)
    if not there.get(name, False):
        usable = ", ".join(["auto", *(kind for kind, is_there in there.items() if is_there)])
        raise InputError(f"device {name!r} is not there; choose one of {usable}")
    return torch.device(name)


def run(images: int, epochs: int, seed: int, out: str, device: str) -> dict[str, float]:
    """Train with the options of ``python -m training pretrain`` and print the errors; ``out`` "": the shipped base."""
    path = Path(out) if out else BASE_CHECKPOINT
    errors = pretrain(images, epochs, seed, path, device)
    print(
        f"lab base: {path}; people not trained on: azimuth {errors['held_out/azimuth_error_deg']:.1f}°, "
        f"elevation {errors['held_out/elevation_error_deg']:.1f}° ({errors['seconds']:.0f} s)"
    )
    return errors
