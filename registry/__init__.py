"""What a registered gaze model promises, which version is where, and who moved it there."""
