"""Names taught from photos: the edit (``teach``), its targets (``ridge``), and texts that stay (``ordinary_texts``)."""
