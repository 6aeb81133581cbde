"""One file per question that is answered with numbers."""
