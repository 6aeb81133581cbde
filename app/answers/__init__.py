"""A question, the rankings that answer it, and what a visitor takes home from them."""
