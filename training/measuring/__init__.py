"""What figures mean: splits, errors and their intervals, baselines, alignment of the labels, the verdict."""
