"""HTML and charts of the page; no state, no events."""
