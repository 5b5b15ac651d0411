"""Angles, vectors and errors: round trips, signs against the published formulas, wrap-around, rounding."""

import numpy as np
import pytest

from recording import angles

RNG = np.random.default_rng(0)
GAZES = RNG.uniform([-170, -80], [170, 80], size=(200, 2))


def test_degrees_and_the_networks_radians_are_inverse_in_unit_and_order() -> None:
    np.testing.assert_allclose(angles.pitch_yaw_to_deg(angles.deg_to_pitch_yaw(GAZES)), GAZES, atol=1e-12)
    np.testing.assert_allclose(angles.pitch_yaw_to_deg(np.array([[0.1, -0.2]])), [[np.degrees(-0.2), np.degrees(0.1)]])


def test_vectors_and_angles_are_inverse() -> None:
    found = angles.vectors(GAZES)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    np.testing.assert_allclose(angles.from_vectors(found * 7.0), GAZES, atol=1e-9)


# Zhang et al. 2017: pitch = asin(−y), yaw = atan2(−x, −z), in a camera that looks at the face. The person's right is
# the camera's −x, up is its −y, and the person looks along its −z.
def test_signs_are_those_of_mpiifacegaze() -> None:
    right_up_ahead = angles.vectors(GAZES)
    x, y, z = (-right_up_ahead).T
    expected = np.column_stack([np.arcsin(-y), np.arctan2(-x, -z)])
    np.testing.assert_allclose(angles.deg_to_pitch_yaw(GAZES), expected, atol=1e-9)


# In a horizontally flipped picture right and left are exchanged and nothing else.
def test_mirror_symmetry() -> None:
    mirrored = angles.from_vectors(angles.vectors(GAZES) * [-1, 1, 1])
    np.testing.assert_allclose(mirrored, GAZES * [-1, 1], atol=1e-9)
    other = RNG.uniform(-60, 60, size=(200, 2))
    np.testing.assert_allclose(
        angles.angular_errors(GAZES, other), angles.angular_errors(GAZES * [-1, 1], other * [-1, 1]), atol=1e-9
    )


@pytest.mark.parametrize(
    ("angle", "wrapped"), [(0, 0), (180, -180), (-180, -180), (190, -170), (-541, 179), (720, 0), (np.nan, np.nan)]
)
def test_angles_wrap_to_half_a_turn(angle: float, wrapped: float) -> None:
    np.testing.assert_allclose(angles.wrap_deg(angle), wrapped)


def test_errors_go_the_short_way_round() -> None:
    np.testing.assert_allclose(angles.absolute_errors([[179, 0], [3, -2]], [[-179, 0], [1, 2]]), [[2, 0], [2, 4]])


# Rounding pushes the dot product of equal unit vectors past 1, where arccos is NaN.
def test_the_angle_between_equal_gazes_is_zero_and_never_nan() -> None:
    np.testing.assert_allclose(angles.angular_errors(GAZES, GAZES), 0, atol=2e-6)
    np.testing.assert_allclose(angles.angular_errors([[0, 90], [90, 0]], [[0, 0], [-90, 0]]), [90, 180])
