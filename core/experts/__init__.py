"""Experts on disk and of a visitor, and adapters as files."""
