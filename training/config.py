"""The parameters of the commands: the main job, ``evaluate``, ``curve`` and ``pretrain``."""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from recording.badrows import ON_BAD_ROWS, STOP
from recording.exceptions import InputError
from recording.face import AUTO, parse
from recording.files import is_folder
from recording.fleet import ON_BAD_DRIVE
from recording.relative_to import check as check_label_frame
from registry.addresses import DEFAULT_MODEL_NAME, Selector, check_name
from training.measuring import splits, subsets

if TYPE_CHECKING:
    from training.searching.space import SearchSpace

CLUSTER = r"auto|(ray://)?([\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}"
"""What names a Ray cluster."""
HELD_OUT, ALL = "held-out", "all"
MOST_STUDY_BYTES = 240
"""Of a study's name: a folder's may have 255 bytes, a run's, with ``finetune-`` before it, 250 characters."""


@dataclass(frozen=True)
class DriveParameters:
    """What the main job and ``curve`` ask for alike: the drive, how it is read, and what it starts from."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(use_attribute_docstrings=True)  # the command line's help

    video: str = ""
    """Composite video of the drive."""
    labels: str = ""
    """CSV of the measured gaze angles."""
    base: str = ""
    """Checkpoint to start from: .pth, .safetensors or models:/…; empty: the lab base that ships."""
    data: str = ""
    """Prepared folder in place of video and labels; several, comma-separated, for split=by-drive."""
    layout: str = "dashgaze"
    """Where the views are in the video: dashgaze, driver, or a YAML/JSON file."""
    track: int = -1
    """Which film of a video with several, from 0; -1: the one that the file marks as its default, else the first."""
    face: str = AUTO
    """What the network reads of the driver view: the face (auto: found on the drive), x,y,w,h, or none: all of it."""
    on_bad_rows: str = STOP
    """When a class of rows of the CSV cannot be read: stop, or drop them."""
    label_offset_frames: float = 0.0
    """By how many frames the rows of the CSV come too late; what the report found, to be corrected."""
    label_frame: str = AUTO
    """What the angles are relative to: car, head, or auto: looked for in the labels."""
    seed: int = 0
    """Of everything random."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


@dataclass(frozen=True)
class JobConfig(DriveParameters):
    """The parameters of the main job, by their names on the command line."""

    samples: int = 500
    """Frames to extract, evenly spaced over the usable rows."""
    drives: str = ""
    """List of drives (CSV: video, labels, driver, ... a row) in place of video and labels."""
    on_bad_drive: str = STOP
    """When a drive of the list cannot be used: stop, or skip it."""
    trials: int = 12
    """Trials of the search."""
    timeout: float = 0
    """Seconds for activations, search and final training; 0 = no limit."""
    workers: int = 0
    """Trials at once, each in a process with its share of the processor and an accelerator of its own, if there are;
    0: one, or on a cluster as many as fit."""
    cluster: str = ""
    """Ray cluster that prepares the drives of a list and runs the trials: auto, HOST:PORT or ray://HOST:PORT."""
    epochs_min: int = 5
    """Least epochs that a trial may choose."""
    epochs_max: int = 30
    """Most epochs that a trial may choose."""
    lr_min: float = 1e-5
    """Least learning rate."""
    lr_max: float = 1e-2
    """Highest learning rate."""
    freeze: str = "backbone,layer3,layer2,none"
    """Freeze choices searched: of backbone, layer3, layer2, layer1, none; one value fixes it."""
    bn: str = "source,target"
    """BatchNorm statistics searched: source, target; one value fixes it."""
    batch_size: int = 0
    """Samples a step; 0: 16, or 8 where fewer than 800 are trained on."""
    split: str = splits.AUTO
    """blocks (time blocks with gaps), by-drive, by-driver, or random (leaks); auto: blocks, of a list by-driver."""
    final: str = HELD_OUT
    """What the registered model is trained on: held-out (all but the test samples and their neighbours), or all; its
    errors are then measured on a twin that is trained as with held-out."""
    folds: int = 0
    """With by-driver, parts of the drivers that are left out one by one for the error on an unseen one; 0: each."""
    study: str = ""
    """Name of the search; the name of an unfinished one resumes it; empty: a new one."""
    storage: str = ""
    """Where the study is kept, so that several machines work on it: postgresql+psycopg2://…; empty: a file in work."""
    model_name: str = DEFAULT_MODEL_NAME
    """Registered model that gets the best checkpoint as a new version."""
    work: str = "data"
    """Where prepared folders, caches and studies go."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples={self.samples}: must be at least 1")
        if self.workers < 0:
            raise InputError(f"workers={self.workers}: must be at least 1, or 0 for what suits")
        if self.cluster and not re.fullmatch(CLUSTER, self.cluster):
            raise InputError(f"cluster={self.cluster!r}: give auto, HOST:PORT or ray://HOST:PORT")
        if self.data:
            self.folders()
        if self.data and (self.video or self.labels):
            raise InputError("data= replaces video= and labels=: give either the prepared folder or the recording")
        _check_list(self.drives, self.on_bad_drive, self.data or self.video or self.labels)
        if self.drives and self.label_offset_frames:
            raise InputError("label_offset_frames= is one drive's: give it in a column of the list drives=")
        if self.folds < 0 or self.folds == 1:
            raise InputError(f"folds={self.folds}: must be 0 (each driver is left out once) or at least 2")
        if self.split != splits.AUTO or not self.drives:  # what auto means is seen in the list
            self.check_folds("blocks" if self.split == splits.AUTO else self.split)
        if bool(self.video) != bool(self.labels):
            given, wanted = ("video", "labels") if self.video else ("labels", "video")
            raise InputError(f"{given}= was given without {wanted}=: a recording needs both")
        if self.track < -1:
            raise InputError(f"track={self.track}: films are counted from 0; -1 is the one that the file marks")
        if self.on_bad_rows not in ON_BAD_ROWS:
            raise InputError(f"on_bad_rows={self.on_bad_rows!r} is unknown: choose one of {', '.join(ON_BAD_ROWS)}")
        parse(self.face)
        check_label_frame(self.label_frame)
        if self.data and self.label_offset_frames:
            raise InputError(
                "label_offset_frames= acts when a recording is prepared: give video= and labels=, not data="
            )
        if self.split not in splits.SPLIT_CHOICES:
            raise InputError(f"split={self.split!r} is unknown: choose one of {', '.join(splits.SPLIT_CHOICES)}")
        if self.final not in (HELD_OUT, ALL):
            raise InputError(f"final={self.final!r} is unknown: choose {HELD_OUT} or {ALL}")
        _check_study(self.study)
        check_name(self.model_name)

    def folders(self) -> tuple[Path, ...]:
        """The prepared folders that ``data`` names; :class:`InputError` where it names none."""
        if is_folder(Path(self.data)):  # also where its name has a comma in it
            return (Path(self.data),)
        return tuple(map(Path, _named("data", self.data, "the path of a prepared folder")))

    def check_folds(self, split: str) -> None:
        """Raises :class:`InputError` where ``folds`` is given and this split, which is not ``auto``, has none."""
        if self.folds and split != "by-driver":
            raise InputError(
                f"folds={self.folds}: acts with split=by-driver, and this is split={split}: nobody is left out; leave "
                f"folds= away, or give drives of at least {splits.FEWEST_DRIVERS} drivers in a list (drives=)"
            )

    def space(self) -> "SearchSpace":
        """The search space; raises :class:`InputError` for an impossible one."""
        from training.searching.space import SearchSpace  # brings torch, which takes seconds: see training.cli

        chosen = {field.name: getattr(self, field.name) for field in fields(SearchSpace)}
        for name in ("freeze", "bn"):
            chosen[name] = tuple(part.strip() for part in chosen[name].split(",") if part.strip())
        return SearchSpace(**chosen)


@dataclass(frozen=True)
class EvaluateConfig:
    """The parameters of ``evaluate``, by their names on the command line."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(use_attribute_docstrings=True)  # the command line's help

    model: str = f"models:/{DEFAULT_MODEL_NAME}/Production"
    """Address of the version: models:/NAME/STAGE, models:/NAME/NUMBER or models:/NAME@ALIAS."""
    data: str = ""
    """Prepared folder."""
    drives: str = ""
    """List of drives (CSV: video, labels, driver, ... a row), in place of data; errors are reported by driver."""
    on_bad_drive: str = STOP
    """When a drive of the list cannot be used: stop, or skip it."""
    video: str = ""
    """Composite video, in place of data."""
    labels: str = ""
    """CSV of the measured angles, with video."""
    samples: int = 500
    """Frames to extract from the video."""
    layout: str = "dashgaze"
    """Layout of the video."""
    track: int = -1
    """Which film of a video with several, from 0; -1: the one that the file marks as its default, else the first."""
    on_bad_rows: str = STOP
    """When a class of rows of the CSV cannot be read: stop, or drop them."""
    label_offset_frames: float = 0.0
    """By how many frames the rows of the CSV come too late."""
    scenarios: int = 10
    """Equal parts of the drive that are reported one by one; more than ten: at most as many as there are samples."""
    work: str = "data"
    """Where prepared folders and caches go."""

    def __post_init__(self) -> None:
        if self.scenarios < 1:
            raise InputError(f"scenarios={self.scenarios}: must be at least 1")
        _check_list(self.drives, self.on_bad_drive, self.data or self.video or self.labels)
        Selector.parse(self.model)

    def job(self) -> JobConfig:
        """The same data as the main job would prepare."""
        return _main(self)


@dataclass(frozen=True)
class PretrainConfig:
    """The parameters of ``pretrain``, by their names on the command line."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(use_attribute_docstrings=True)  # the command line's help

    dataset: str = ""
    """Folder of MPIIFaceGaze, as recorded or normalised; empty: rendered lab faces, for the base that ships."""
    epochs: int = 11
    """Epochs; the last two at full size."""
    seed: int = 0
    """Of everything random."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    base: str = ""
    """With dataset: checkpoint to go on from: .pth, .safetensors or models:/…; empty: random weights."""
    held_out: str = ""
    """With dataset: persons to judge on and not to train on, comma-separated; empty: the last one."""
    folds: str = ""
    """With dataset: persons, to leave each one out once; empty: one training."""
    export: str = ""
    """With dataset: .pth to write the state_dict to, as older code loads it."""
    model_name: str = DEFAULT_MODEL_NAME
    """With dataset: the base is registered as this name with -base."""
    work: str = "data"
    """With dataset: where normalised faces and unfinished trainings are kept."""
    images: int = 7000
    """Without dataset: lab pictures to render and train on."""
    out: str = ""
    """Without dataset: the .safetensors to write; empty: the one that ships."""

    def __post_init__(self) -> None:
        if self.held_out:
            _named("held_out", self.held_out, "persons, as held_out=p13,p14")
        given = {name: getattr(self, name) for name in ("base", "held_out", "folds", "export")}
        alone = [name for name, value in given.items() if value]
        if alone and not self.dataset:
            raise InputError(f"{alone[0]}={given[alone[0]]}: acts with dataset= only; give the folder of MPIIFaceGaze")
        if self.folds not in ("", "persons"):
            raise InputError(f"folds={self.folds!r} is unknown: persons, or nothing for one training")
        if self.dataset and self.epochs < 1:
            raise InputError(f"epochs={self.epochs}: must be at least 1")
        if self.dataset and self.out:
            raise InputError(
                f"out={self.out}: is for the lab base; with dataset= give export= and a name ending in .pth"
            )
        if self.export and not self.export.endswith(".pth"):
            raise InputError(f"export={self.export}: give a name that ends in .pth")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed={self.seed}: must be from 0 to {2**32 - 1}")
        check_name(self.model_name)


@dataclass(frozen=True)
class CurveConfig(DriveParameters):
    """The parameters of ``curve``, by their names on the command line; those of data and search are the main job's."""

    sizes: str = ""
    """Sizes to measure at, comma-separated, counted as samples= is; empty: halvings of what is there."""
    repeats: int = 3
    """Trainings of each size, on different subsets and from different seeds."""
    spacing: str = "even"
    """even: subsets thinned evenly; first: the first minutes of the drive, what recording longer would have brought."""
    target_deg: float = 0.0
    """3-D error in degrees of which to say how many samples it takes; 0: none."""
    model: str = ""
    """Registered version whose configuration is trained with: models:/NAME/STAGE, /NUMBER or @ALIAS."""
    study: str = ""
    """Search whose best configuration is trained with; a new name: of a short search; empty: a new name."""
    storage: str = ""
    """Where the search named by study is kept, if not in work: postgresql+psycopg2://…; it is read, not worked on."""
    samples: int = 1000
    """Frames to extract, evenly spaced over the usable rows: the largest size."""
    trials: int = 6
    """Trials of the short search at the largest size."""
    timeout: float = 0
    """Seconds for the short search and all trainings; what it cuts off, the same command goes on with. 0: as many
    repeats as keep the curve within two main jobs."""
    epochs_max: int = 30
    """Most epochs of a trial; small sizes get up to as many where the chosen one has fewer."""
    freeze: str = "backbone,layer3,layer2,none"
    """Freeze choices of the short search."""
    bn: str = "source,target"
    """BatchNorm statistics of the short search."""
    batch_size: int = 0
    """Samples a step, in the short search; 0: 16, or 8 where fewer than 800 are trained on."""
    split: str = splits.AUTO
    """As in the main job; auto: blocks (time blocks with gaps)."""
    work: str = "data"
    """Where prepared folders, caches, studies and finished trainings go."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise InputError(f"repeats={self.repeats}: must be at least 1")
        if self.spacing not in subsets.SPACINGS:
            raise InputError(f"spacing={self.spacing!r} is unknown: choose one of {', '.join(subsets.SPACINGS)}")
        if self.timeout < 0:
            raise InputError(f"timeout={self.timeout:g}: must be 0 (none) or seconds above 0")
        if self.epochs_max < 1:
            raise InputError(f"epochs_max={self.epochs_max}: must be at least 1")
        if self.target_deg < 0:
            raise InputError(f"target_deg={self.target_deg:g}: must be 0 (none) or degrees above 0")
        if self.model and self.study:
            raise InputError("model= and study= both name a configuration: give one of them")
        if self.storage and not self.study:
            raise InputError("storage= says where the search study= is kept: name it, or leave storage= away")
        if self.model:
            Selector.parse(self.model)
        sizes = self.asked_sizes()
        if sizes:  # now, not when the samples are extracted; how many a prepared folder has is not known yet
            subsets.check(sizes, max(sizes) if self.data else self.samples)
        self.job()

    def asked_sizes(self) -> tuple[int, ...]:
        """The named sizes, ascending; () where they are to be found. Raises :class:`InputError` for what is no size."""
        if not self.sizes:
            return ()
        parts = _named("sizes", self.sizes, "sizes=125,250,500,1000")
        wrong = [part for part in parts if not part.isascii() or not part.isdigit() or int(part) < 1]
        if wrong:
            raise InputError(f"sizes={self.sizes!r}: {wrong[0]!r} is no number of samples; give sizes=125,250,500,1000")
        return tuple(sorted({int(part) for part in parts}))

    def job(self) -> JobConfig:
        """The main job on the same data, with the short search."""
        return replace(_main(self), epochs_min=min(JobConfig.epochs_min, self.epochs_max))


def _check_study(name: str) -> None:
    """The name of a search is that of its folder in ``work=``."""
    if not all(c.isalnum() or c in "-_." for c in name):
        raise InputError(f"study={name!r}: use letters, digits, '-', '_' and '.' only")
    if name and set(name) == {"."}:
        raise InputError(f"study={name!r}: only dots name another folder; put a letter or digit in")
    if (size := len(name.encode())) > MOST_STUDY_BYTES:
        raise InputError(f"study={name[:40]}…: has {size} bytes as a folder's name; at most {MOST_STUDY_BYTES} will do")


def _named(name: str, text: str, wanted: str) -> list[str]:
    """What a parameter names, comma-separated; :class:`InputError` where there are but blanks and commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError(f"{name}={text!r}: names nothing; give {wanted}")
    return parts


def _main(config: "EvaluateConfig | CurveConfig") -> JobConfig:
    """The main job with the parameters that it shares with another command."""
    shared = {field.name for field in fields(JobConfig)} & {field.name for field in fields(config)}
    return JobConfig(**{name: getattr(config, name) for name in shared})


def _check_list(drives: str, on_bad_drive: str, other: str) -> None:
    if on_bad_drive not in ON_BAD_DRIVE:
        raise InputError(f"on_bad_drive={on_bad_drive!r} is unknown: choose one of {', '.join(ON_BAD_DRIVE)}")
    if drives and other:
        raise InputError("drives= replaces video=, labels= and data=: name recordings and folders in the list")


def choose_device(name: str) -> str:
    """``auto`` → cuda, mps or cpu, whichever is there first; a device that is not there is an :class:`InputError`."""
    import torch  # takes seconds: see training.cli

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, is_there in there.items() if is_there)
    if name not in there:
        raise InputError(f"device={name!r} is unknown: choose one of auto, {', '.join(there)}")
    if not there[name]:
        raise InputError(f"device={name}: not on this machine; use device=auto")
    return name
