"""The rendered sample drive, the lab base it starts from, and the renderer of both."""
