"""The method, SG-LoRA (arXiv 2509.10535): engine, router, prior, generator, and the expert repository."""
