"""A z-buffer: which triangle every pixel shows, and where in it."""

import math

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, fastmath=True)
def rasterise(screen: np.ndarray, triangles: np.ndarray, nearness: np.ndarray, index: np.ndarray, inside: np.ndarray):
    """Draw ``triangles`` (m, 3) of projected vertices ``screen`` (n, 3: x, y, nearness) into the buffers.

    ``nearness`` (h, w) keeps the largest value (1/depth; 0 = nothing), ``index`` the triangle (−1 = none) and
    ``inside`` (h, w, 2) the screen-space weights of its second and third vertex. Triangles that turn their back
    (clockwise on the screen, y down) are skipped.
    """
    height, width = nearness.shape
    nearness[:] = 0.0
    index[:] = -1
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, an = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bn = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cn = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area <= 1e-9:
            continue
        x0 = max(0, math.ceil(min(ax, bx, cx)))
        x1 = min(width - 1, math.floor(max(ax, bx, cx)))
        y0 = max(0, math.ceil(min(ay, by, cy)))
        y1 = min(height - 1, math.floor(max(ay, by, cy)))
        if x0 > x1 or y0 > y1:
            continue
        scale = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wb = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) * scale
                wc = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) * scale
                if wb < 0.0 or wc < 0.0 or wb + wc > 1.0:
                    continue
                n = an + wb * (bn - an) + wc * (cn - an)
                if n > nearness[y, x]:
                    nearness[y, x] = n
                    index[y, x] = t
                    inside[y, x, 0] = wb
                    inside[y, x, 1] = wc
