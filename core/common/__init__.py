"""Shared helpers. Every other package may import them; they import no other package."""
