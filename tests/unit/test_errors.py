"""The texts of error messages."""

from __future__ import annotations

import pytest

from app.errors import without_paths


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("The expert repository /srv/app/experts/embedded has a damaged index.json: restore it.",
         "The expert repository embedded has a damaged index.json: restore it."),
        ("/tmp/x/y.jpg: the file is empty.", "y.jpg: the file is empty."),
        ("Use text/plain, https://example.org/a/b and 1/2.", "Use text/plain, https://example.org/a/b and 1/2."),
        ("“photos of cats/dogs”: both", "“photos of cats/dogs”: both"),
        ("local-dir:/srv/models/mine does not load", "local-dir:mine does not load"),
        ("(/home/me/heads.safetensors)", "(heads.safetensors)"),
    ],
)  # fmt: skip
def test_messages_name_files_without_their_folders(message: str, said: str) -> None:
    assert without_paths(message) == said
