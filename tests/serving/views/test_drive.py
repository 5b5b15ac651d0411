"""The page *Drive*."""

import json
import re

from streamlit.testing.v1 import AppTest


def worst(page: AppTest) -> list[float]:
    """The errors under the worst frames, as a narrow page stacks them."""
    captions = [image.caption for element in page.get("image") for image in element.proto.imgs]
    return [float(re.search(r"([\d.]+)° off", caption).group(1)) for caption in captions]


def test_stacked_the_worst_frames_stay_in_order(opened, bare, version: int) -> None:
    errors = worst(opened("drive", folder=str(bare(20)), production=version))
    assert len(errors) == 6
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1]


def test_over_time_measured_and_predicted_are_told_apart_by_shape_too_on_a_high_chart(
    opened, bare, version: int
) -> None:
    page = opened("drive", folder=str(bare(20)), production=version)
    charts = [json.loads(element.proto.spec) for element in page.get("vega_lite_chart")]
    over_time = [chart for chart in charts if chart.get("encoding", {}).get("x", {}).get("field") == "time"]
    assert [chart["height"] for chart in over_time] == [400, 400]
    for chart in over_time:
        shapes = chart["encoding"]["shape"]["scale"]
        assert shapes["domain"] == ["measured", "predicted"]
        assert len(set(shapes["range"])) == 2
