"""SG-LoRA engine: from a sentence to a LoRA adapter to better photo search (arXiv 2509.10535)."""

import os

# Set before torch loads OpenMP, so that waiting threads sleep. When more threads compute than there are cores (two visitors at
# once, a shared machine), spinning threads take cores from threads that have work. Then everything takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
