"""The search: its space, its study, and a trial in a process of its own."""
