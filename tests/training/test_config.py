"""Parameters that can be judged by themselves are refused before anything is done."""

import pytest

from recording.exceptions import InputError
from training.config import MOST_STUDY_BYTES, CurveConfig, JobConfig

REFUSED = [
    ("../x", "use letters, digits"),
    (".", "only dots name another folder"),
    ("..", "only dots name another folder"),
    ("x" * 256, r"xxx…: has 256 bytes as a folder's name; at most 240 will do"),
    ("ü" * 121, "has 242 bytes"),
]


@pytest.mark.parametrize("config", [JobConfig, CurveConfig])
@pytest.mark.parametrize(("study", "says"), REFUSED, ids=["slash", "dot", "dots", "long", "long in bytes"])
def test_a_study_whose_name_can_be_no_folder_is_refused_in_one_line(config, study, says):
    with pytest.raises(InputError, match=f"study=.*{says}") as raised:
        config(study=study)
    assert len(str(raised.value)) < 200


def test_a_study_may_have_a_long_name_and_dots_in_it(tmp_path):
    for name in ("x" * MOST_STUDY_BYTES, "..a", "v1.2"):
        (tmp_path / JobConfig(study=name).study).mkdir()
