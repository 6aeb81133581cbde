"""The index and the gallery: adapted search over photos."""
