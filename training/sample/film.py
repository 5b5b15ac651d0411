"""The video of a rendered drive."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from recording.processors import cores
from training.sample.scene import Scene

_KEY_FRAME_S = 8


def frames(scene: Scene) -> Iterator[np.ndarray]:
    """All frames in order, drawn by as many threads as there are cores for this process, a few ahead."""
    workers = cores()
    # The matrices are small: BLAS threads of their own would only wait, spinning, on the cores that draw.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for number in range(len(scene)):
            waiting.append(pool.submit(scene.frame, number))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def encode(video: Path, scene: Scene, title: str) -> None:
    """H.264 in MP4, a key frame every eight seconds; ``title`` is what the progress bar says."""
    fps = scene.recipe.fps
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        (stream.width, stream.height), stream.pix_fmt = scene.recipe.size(), "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        # One thread: the same bytes on every machine, and the drawing keeps the cores busy.
        # No macroblock tree: x264's weighs the same frames differently from run to run.
        repeatable: dict[str, object] = {"threads": "1", "x264-params": "mbtree=0"}
        stream.options = {"preset": "veryfast", "crf": "18", "g": str(_KEY_FRAME_S * fps)} | repeatable
        for number, picture in enumerate(tqdm(frames(scene), total=len(scene), desc=title, unit="frame")):
            # Not FFmpeg's own conversion: its rounding depends on where in memory the picture happens to lie.
            planes: np.ndarray = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
