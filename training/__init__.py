"""The drive, the samples, the model, one trial, the search, the errors. Imports registry, never serving."""
