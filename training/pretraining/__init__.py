"""The base from a public data set: read MPIIFaceGaze in either layout, train on its people, judge on others."""
