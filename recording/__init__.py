"""What a drive on disk is, read one way by everybody: no torch, no MLflow, nothing of the rooms above."""
