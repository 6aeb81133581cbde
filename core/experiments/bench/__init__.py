"""What the engine costs: time and memory, measured by ``python -m core bench``."""
