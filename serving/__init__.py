"""From a stage in the registry to answers: HTTP, command line and app. Imports registry, never training."""
