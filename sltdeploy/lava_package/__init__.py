"""The Python package that the Lava exporter writes: its processes, its text, its weights."""
