"""SG-LoRA engine: from a sentence to a LoRA adapter to better photo search (arXiv 2509.10535)."""

__version__ = "0.1.0"
