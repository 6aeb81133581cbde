"""Shared helpers. Every other package of core may import them; they import none of those."""
