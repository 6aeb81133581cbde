"""Names taught from photos: the edit, what sets photos apart, and what must not move."""
