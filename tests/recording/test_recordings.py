"""Several prepared folders as one list of samples: what they say about where their pictures lay."""

from pathlib import Path

import pandas as pd
import pytest

from recording import layouts
from recording.exceptions import InputError
from recording.layouts import Layout, View
from recording.prepared import Samples
from recording.recordings import Recordings

OWN = Layout("mine.yaml", 640, 200, {"driver": View(300, 20, 160, 160)})


def samples(layout: Layout | None) -> Samples:
    return Samples(Path("x"), "x", pd.DataFrame({"frame": [0]}), 30.0, "d", "d", rendered=False, layout=layout)


def dashgaze(width: int, height: int) -> Layout:
    return Layout("dashgaze", width, height, layouts.views_for("dashgaze", width, height))


def test_a_prepared_folder_says_its_layout_whatever_was_asked_for() -> None:
    assert Recordings((samples(OWN),)).layouts("dashgaze") == ("mine.yaml", (OWN,))
    assert Recordings((samples(dashgaze(376, 134)),)).layouts("driver") == ("dashgaze", layouts.DASHGAZE)


def test_a_bare_folder_does_not_say_so_the_layout_that_was_asked_for_counts(tmp_path: Path) -> None:
    bare = Recordings((samples(None),))
    assert bare.layouts("dashgaze") == ("dashgaze", layouts.DASHGAZE)
    assert bare.layouts("driver") == ("driver", ())
    with pytest.raises(InputError, match=r"absent\.yaml"):
        bare.layouts(tmp_path / "absent.yaml")


def test_several_drives_have_all_their_layouts_once() -> None:
    three = Recordings((samples(dashgaze(376, 134)), samples(OWN), samples(dashgaze(1504, 540))))
    assert three.layouts("dashgaze") == ("dashgaze, mine.yaml", (*layouts.DASHGAZE, OWN))
