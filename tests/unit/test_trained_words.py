"""Words that are in none of the model's training texts."""

from pathlib import Path

import pytest

from core.backbones.embedded import load_embedded
from core.backbones.trained_words import load_words, save_words, unknown_words
from core.common.paths import heads_path
from core.data.sample_photos import sample_photos

TRAINED = frozenset("dog run grass child hund".split())


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("two dogs on the grass", ()),  # "two" is one of three words
        ("a unicorn and a Spaceship", ("unicorn", "spaceship")),
        ("a dog with a unicorn", ()),
        ("a child runs with a dog to a unicorn", ()),
        ("a dog, a unicorn and a spaceship", ("unicorn", "spaceship")),
        ("Hunde", ()),
        ("un unicornio en la playa con los niños", ()),  # the list has no Spanish words
        ("", ()),
        ("2019", ()),
    ],
)
def test_a_text_is_unknown_by_most_of_its_words(text: str, unknown: tuple[str, ...]) -> None:
    assert unknown_words(text, TRAINED) == unknown


def test_without_a_list_nothing_is_unknown() -> None:
    assert unknown_words("unicorn", load_words(Path("no-such-file"))) == ()


def test_words_come_back_from_their_file(tmp_path: Path) -> None:
    save_words(["A dog runs.", "the Straße, the dog"], tmp_path / "words.txt")
    assert load_words(tmp_path / "words.txt") == {"dog", "runs", "strasse"}


def test_the_shipped_words_know_what_people_ask_of_the_samples() -> None:
    """Captions that the training did not use. Two of them name no object in the photo."""
    words = load_embedded(heads_path()).words
    assert unknown_words("unicorn eating a spaceship", words) == ("unicorn", "spaceship")
    captions = [caption for sample in sample_photos() for caption in sample.captions]
    unknown = [caption for caption in captions if unknown_words(caption, words)]
    assert unknown == ["Homework in mathematics.", "A slow Sunday morning."]
