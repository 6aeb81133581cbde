"""The page's steps, one file each: what a step shows, and what its controls do."""
