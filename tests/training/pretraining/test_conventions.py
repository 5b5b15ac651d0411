"""Mix-ups of a data set are found in its pictures and labels, and named."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recording import preprocess
from recording.exceptions import InputError
from training.learning import model
from training.pretraining import conventions, mpiifacegaze_mat
from training.sample.sample_drive import BASE_CHECKPOINT


@pytest.fixture(scope="module")
def faces(normalised):
    return [mpiifacegaze_mat.read(normalised, name) for name in ("p00", "p01", "p02")]


@pytest.fixture(scope="module")
def lab_base():
    network = model.load(BASE_CHECKPOINT)

    def answer(pictures):
        with torch.inference_mode():
            return network(torch.from_numpy(preprocess.to_input(pictures))).double().numpy()

    return answer


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
    changed = [replace(one, **change(one)) for one in faces]
    with pytest.raises(InputError, match=named):
        conventions.check(changed, "here", lambda pictures: pytest.fail("no network is needed for this"))


def test_one_person_of_fifteen_in_degrees_is_named(faces):
    everybody = np.concatenate([np.tile(faces[0].gaze, (14, 1)), np.degrees(faces[0].gaze)])
    with pytest.raises(InputError, match="are DEGREES"):
        conventions.check_units(everybody, "here")


def test_mirrored_pictures_are_named(faces, lab_base):
    """Nothing but a look at the pictures shows it."""
    seen = conventions._spread(faces)
    answers = lab_base(np.ascontiguousarray(seen.pictures[:, :, ::-1]))
    with pytest.raises(InputError, match=r"lab base sees in the pictures: yaw is turned round .* MIRRORED"):
        conventions.check_signs(answers, seen.gaze, "here")


def test_transposed_pictures_are_named(faces):
    pictures = conventions._spread(faces).pictures[::2].transpose(0, 2, 1, 3)
    with pytest.raises(InputError, match="pictures are TRANSPOSED"):
        conventions.check_upright(pictures, "here")


def test_a_network_that_answers_noise_refuses_nothing(faces, caplog):
    seen = conventions._spread(faces)
    noise = np.random.default_rng(1).normal(size=seen.gaze.shape) * 0.2
    with caplog.at_level("INFO"):
        conventions.check_signs(noise, seen.gaze, "here")
    assert "sees too little in these pictures to tell signs and order" in caplog.text
