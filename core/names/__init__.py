"""Names taught from photos: the edit (``teach``), its target (``everyday``), and texts that stay (``ordinary_texts``)."""
