"""``python -m benchmarks.recipe``: what each choice of the fine-tuning loop is worth, one changed at a time.

All rows train the whole network (``freeze=none``, BatchNorm statistics of the drive) on the same samples of the
rendered sample drive for the same epochs and are judged on the *validation* blocks; the test blocks are not touched.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.machine import machine
from recording import preparation, recordings
from recording.angles import pitch_yaw_to_deg
from recording.drive import Source
from recording.recordings import Recordings
from training.learning import model, pictures
from training.learning.answers import predict
from training.learning.augmentation import Augmentation
from training.learning.batchnorm import adapt
from training.learning.cache import ActivationCache
from training.learning.finetune import Examples, Recipe, TrialConfig, finetune
from training.learning.trunk import Dataset, features
from training.measuring import splits
from training.measuring.alignment import align
from training.measuring.splits import Split
from training.sample import sample_drive

CPU = torch.device("cpu")
ROWS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "loss: smooth L1 (beta 0.05 rad)": {"criterion": lambda a, b: functional.smooth_l1_loss(a, b, beta=0.05)},
    "loss: mean absolute error": {"criterion": functional.l1_loss},
    "optimiser: Adam": {"optimizer_class": torch.optim.Adam},
    "dropout 0.4, as built": {"dropout": 0.4},
    "no dropout": {"dropout": 0.0},
    "all pictures changed far": {"augmentation": Augmentation(often=1.0)},
    "all pictures changed little": {"augmentation": Augmentation(often=0.0)},
    "no augmentation": {"augmentation": None},
}


def main() -> None:
    given = _arguments()
    work = Path(given.work)
    video, labels = sample_drive.render(work / "sample-drive")
    folder = preparation.prepare(Source(video, labels), given.samples, work / "prepared" / f"sample-{given.samples}")
    data = recordings.load((folder,))
    split = splits.of("blocks", data)
    print(f"machine: {machine()}")
    print(
        f"{len(split.train)} training and {len(split.validation)} validation samples; {given.epochs} epochs at "
        f"{given.lr:g}; errors of the best epoch in degrees, seeds 0…{given.seeds - 1}\n"
    )
    print("| change | azimuth | elevation | 3-D | seconds |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        cache = ActivationCache(Path(scratch))
        crops, key = pictures.array(data, cache), pictures.key(data)
        base = adapt(model.load(sample_drive.BASE_CHECKPOINT), crops, split.train, CPU)
        _align(base, crops, key, data, split, cache)
        for name, options in ROWS.items():
            changed = dict(options)
            augmentation = changed.pop("augmentation", Augmentation())
            used = Dataset(crops, key, split.train, split.validation, augmentation)
            results, began = [], time.perf_counter()
            for seed in range(given.seeds):
                network = model.build()
                network.load_state_dict(base.state_dict())
                config = TrialConfig("none", "target", given.lr, given.epochs, seed=seed)
                source = features(network, "none", used, cache, CPU)
                _, tail = model.cut(network, "none")
                examples = Examples(source, data.targets, split.train, split.block, split.validation)
                outcome = finetune(tail, examples, config, recipe=Recipe(**changed))
                results.append(outcome.best)
            means = [
                sum(getattr(best, f"{angle}_error_deg") for best in results) / len(results)
                for angle in ("azimuth", "elevation", "angular")
            ]
            seconds = (time.perf_counter() - began) / given.seeds
            print(f"| {name} | " + " | ".join(f"{mean:.2f}" for mean in means) + f" | {seconds:.0f} |", flush=True)
        cache.close()


def _align(
    base: torch.nn.Module,
    crops: np.ndarray,
    key: dict[str, Any],
    data: Recordings,
    split: Split,
    cache: ActivationCache,
) -> None:
    """Start where trials start: the head shifted to the labels of the training samples."""
    used = Dataset(crops, key, split.train, split.validation)
    _, tail = model.cut(base, "none")
    answers = pitch_yaw_to_deg(predict(tail, features(base, "none", used, cache, CPU), split.train))
    align(answers, data.labels_deg[split.train]).adopt(base)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="data", help="where the sample drive lies (data)")
    parser.add_argument("--samples", type=int, default=500, help="samples of the drive (500)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of each row (8)")
    parser.add_argument("--lr", type=float, default=3e-4, help="learning rate of each row (3e-4)")
    parser.add_argument("--seeds", type=int, default=1, help="repetitions with other seeds (1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
