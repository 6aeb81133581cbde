"""SG-LoRA engine: from a sentence to a LoRA adapter to better photo search (arXiv 2509.10535)."""

import os

# Before torch loads OpenMP: threads that wait should sleep. Where more threads compute than there are cores (two visitors
# at once, a shared machine) spinning ones keep the cores from those that have work, and everything takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
