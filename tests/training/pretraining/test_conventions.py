"""Mix-ups of a data set are found in its pictures and labels, and named."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recording import preprocess
from recording.exceptions import InputError
from training.learning import model
from training.pretraining import conventions, mpiifacegaze_mat
from training.pretraining.faces import Faces
from training.sample.rendering import lab
from training.sample.sample_drive import BASE_CHECKPOINT


@pytest.fixture(scope="module")
def faces(normalised):
    return {name: mpiifacegaze_mat.read(normalised, name) for name in ("p00", "p01", "p02")}


def remembered(answer):
    """The same, with pictures that were seen before answered from memory: a network takes a second a person."""
    known = {}

    def answered(pictures):
        new = {one.tobytes(): one for one in pictures if one.tobytes() not in known}
        if new:
            known.update(zip(new, answer(np.stack(list(new.values()))), strict=True))
        return np.stack([known[one.tobytes()] for one in pictures])

    return answered


@pytest.fixture(scope="module")
def lab_base():
    network = model.load(BASE_CHECKPOINT)

    def answer(pictures):
        with torch.inference_mode():
            return network(torch.from_numpy(preprocess.to_input(pictures))).double().numpy()

    return remembered(answer)


def test_the_data_set_as_it_is_passes(faces, lab_base):
    conventions.check(faces, "here", lab_base)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: {"gaze": np.degrees(one.gaze)}, "are DEGREES"),
        (lambda one: {"gaze": np.radians(one.gaze)}, "radians TWICE"),
        (lambda one: {"gaze": one.gaze[:, ::-1]}, "pitch and yaw are SWAPPED"),
        (lambda one: {"gaze": one.gaze * [1, -1]}, "yaw is turned round .* MIRRORED"),
        (lambda one: {"gaze": one.gaze * [-1, 1]}, "pitch is turned round"),
        (lambda one: {"landmarks": [448, 0] + one.landmarks * [-1, 1]}, "landmarks are MIRRORED"),
        (lambda one: {"landmarks": one.landmarks[..., ::-1]}, "x and y of the landmarks are SWAPPED"),
        (lambda one: {"landmarks": one.landmarks + np.array([150, 0])}, "not in the middle"),
        (lambda one: {"pictures": one.pictures[..., ::-1]}, "RED AND BLUE ARE SWAPPED"),
    ],
    ids=["degrees", "twice", "swapped", "yaw", "pitch", "landmarks", "x and y", "off", "colours"],
)
def test_what_labels_or_colours_show_is_named(faces, change, named):
    changed = {name: replace(one, **change(one)) for name, one in faces.items()}
    with pytest.raises(InputError, match=named):
        conventions.check(changed, "here", lambda pictures: pytest.fail("no network is needed for this"))


def test_one_person_of_fifteen_in_degrees_is_named(faces):
    everybody = np.concatenate([np.tile(faces["p00"].gaze, (14, 1)), np.degrees(faces["p00"].gaze)])
    with pytest.raises(InputError, match="are DEGREES"):
        conventions.check_units(everybody, "here")


def test_mirrored_pictures_are_named(faces, lab_base):
    """Nothing but a look at the pictures shows it."""
    seen = conventions._spread(faces)[0]
    answers = lab_base(np.ascontiguousarray(seen.pictures[:, :, ::-1]))
    with pytest.raises(InputError, match=r"lab base sees in the pictures: yaw is turned round .* MIRRORED"):
        conventions.check_signs(answers, seen.gaze, "here")


def test_transposed_pictures_are_named(faces):
    pictures = conventions._spread(faces)[0].pictures[::2].transpose(0, 2, 1, 3)
    with pytest.raises(InputError, match="pictures are TRANSPOSED"):
        conventions.check_upright(pictures, "here")


def test_a_network_that_answers_noise_refuses_nothing(faces, caplog):
    seen = conventions._spread(faces)[0]
    noise = np.random.default_rng(1).normal(size=seen.gaze.shape) * 0.2
    with caplog.at_level("INFO"):
        conventions.check_signs(noise, seen.gaze, "here")
    assert "sees too little in these pictures to tell signs and order" in caplog.text


@pytest.fixture(scope="module")
def many():
    """Four rendered people with as many pictures as one is judged by alone; heads as the layout does not say them."""
    found = {}
    for number, head in enumerate(lab.people(range(60, 64))):
        shown = list(lab.pictures(head, conventions.FEWEST_OF_ONE, 5))
        nowhere = np.full((len(shown), 2), np.nan)
        pictures, gaze = (np.stack(part) for part in zip(*shown, strict=True))
        found[f"p{number:02d}"] = Faces(pictures, gaze, nowhere, np.full((len(shown), 6, 2), np.nan))
    return found


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: {"gaze": one.gaze * [1, -1]}, "p02: yaw is turned round .* MIRRORED"),
        (lambda one: {"pictures": one.pictures[:, :, ::-1]}, "p02: yaw is turned round .* MIRRORED"),
        (lambda one: {"gaze": one.gaze * [-1, 1]}, "p02: pitch is turned round"),
        (lambda one: {"gaze": one.gaze[:, ::-1]}, "p02: pitch and yaw are SWAPPED"),
    ],
    ids=["labels", "pictures", "pitch", "swapped"],
)
def test_one_person_of_many_whose_labels_are_mixed_up_is_named(many, lab_base, change, named):
    with pytest.raises(InputError, match=f"unlike the other persons': {named}") as error:
        conventions.check(many | {"p02": replace(many["p02"], **change(many["p02"]))}, "here", lab_base)
    assert not any(f"{name}:" in str(error.value) for name in ("p00", "p01", "p03"))


def test_many_people_as_they_are_pass(many, lab_base):
    conventions.check(many, "here", lab_base)


def test_a_person_whose_head_goes_against_the_gaze_is_named_and_nobody_where_heads_say_little():
    random = np.random.default_rng(0)
    gaze, who = random.normal(size=(128, 2)) * 0.2, np.repeat(["p00", "p01", "p02", "p03"], 32)
    head = gaze + random.normal(size=gaze.shape) * 0.05
    conventions.check_each(who, head, gaze, "here", conventions.BY_HEAD)
    head[who == "p01"] *= [1, -1]
    with pytest.raises(InputError, match="head poses, unlike the other persons': p01: yaw is turned round"):
        conventions.check_each(who, head, gaze, "here", conventions.BY_HEAD)
    others = (who == "p02") | (who == "p03") | (who == "p00")
    head[others] = random.normal(size=(96, 2)) * 0.2
    conventions.check_each(who, head, gaze, "here", conventions.BY_HEAD)
