"""The texts of error messages."""

import pytest

from app.server.errors import without_paths
from core.common.errors import RepositoryError
from core.common.messages import message


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


def test_a_message_is_its_english_text_with_its_fields() -> None:
    inner = message("The expert's name has {n} characters; {most} is the most.", n=61, most=60)
    error = RepositoryError("{label}: {error}", label=message("The experts' ZIP"), error=inner)
    assert str(error) == str(error.message) == "The experts' ZIP: The expert's name has 61 characters; 60 is the most."
    assert str(RepositoryError(inner)) == "The expert's name has 61 characters; 60 is the most."
    assert str(RepositoryError("a folder {of} braces")) == "a folder {of} braces"
