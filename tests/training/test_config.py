"""Parameters that can be judged by themselves are refused before anything is done."""

from pathlib import Path

import pytest

from recording.exceptions import InputError
from training.config import MOST_STUDY_BYTES, CurveConfig, EvaluateConfig, JobConfig, PretrainConfig

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


# `data=" "` was a traceback, or "trained on every frame given"; sizes and persons were chosen as if nothing were said.
@pytest.mark.parametrize("blank", [" ", ",", ",,", " , "])
def test_a_list_of_nothing_but_blanks_and_commas_is_refused_in_one_line(blank, tmp_path, monkeypatch):
    for make in (JobConfig, CurveConfig, lambda **given: EvaluateConfig(**given).job()):
        with pytest.raises(InputError, match=f"^data='{blank}': names nothing; give the path of a prepared folder$"):
            make(data=blank)
    with pytest.raises(InputError, match=f"^sizes='{blank}': names nothing; give sizes=125,250,500,1000$"):
        CurveConfig(sizes=blank)
    with pytest.raises(InputError, match=f"^held_out='{blank}': names nothing; give persons, as held_out=p13,p14$"):
        PretrainConfig(dataset="faces", held_out=blank)
    (tmp_path / blank).mkdir()  # it may be called so
    monkeypatch.chdir(tmp_path)
    assert JobConfig(data=blank).folders() == (Path(blank),)


def test_folders_are_named_with_commas_between_and_blanks_around(tmp_path, monkeypatch):
    (tmp_path / "a, b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert JobConfig(data="a, b").folders() == (Path("a, b"),)
    assert JobConfig(data=" one , two,").folders() == (Path("one"), Path("two"))
    long = ["x" * 200, "y" * 200]
    assert JobConfig(data=",".join(long)).folders() == tuple(map(Path, long))
    assert CurveConfig(sizes=" 250,125,,").asked_sizes() == (125, 250)
