"""The method (arXiv 2509.10535): engine, router, prior, generator, and the expert repository."""
