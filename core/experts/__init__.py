"""Expert repositories on disk, a visitor's own experts, and adapter files."""
