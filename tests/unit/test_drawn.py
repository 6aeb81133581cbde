"""What a tab notes of values that answers set and visitors write, while events overtake each other."""

from app.page.view import Controls
from app.visitors.tab import Drawn

OLD, TYPED, CHOSEN = Controls(description="photos of boats"), "", "photos of rooms in a house"


def heard(chosen: int, typed: int) -> tuple[str, str]:
    """A visitor empties the box of the sentence and chooses a suggestion. The choice is handled first. Returns the sentence
    with which the page is drawn then, and that of the event of typing. ``chosen``, ``typed``: numbers of the events."""
    drawn = Drawn()
    drawn.hear(OLD, 0, 1)
    drawn.hear(OLD, 0, chosen)
    drawn.set({"description": CHOSEN}, chosen)
    drawn.write({"description": TYPED}, typed)
    controls, again = drawn.hear(OLD._replace(description=TYPED), 0, typed, ["description"])
    drawn.set(again, typed)
    return drawn.controls.description, controls.description


def test_the_later_of_typing_and_choosing_counts() -> None:
    assert heard(chosen=3, typed=2) == (CHOSEN, CHOSEN)
    assert heard(chosen=2, typed=3) == (TYPED, TYPED)


def test_what_was_typed_later_is_sent_instead_of_what_an_answer_sets() -> None:
    drawn = Drawn()
    drawn.hear(OLD, 0, 1)
    drawn.set({"description": CHOSEN, "query": "a lamp"}, 1)
    drawn.write({"description": TYPED}, 2)
    assert drawn.sends(["description", "query"], 1, 1) == {"description": TYPED, "query": "a lamp"}
    assert drawn.sends(["description"], 2, 3) == {"description": TYPED}


def test_what_a_lost_answer_sets_is_sent_again() -> None:
    drawn = Drawn()
    drawn.hear(OLD, 0, 1)
    drawn.set({"query": "a lamp"}, 1)
    drawn.sends(["query"], 1, 1)
    assert drawn.sends([], 2, 2, since=1) == {}
    assert drawn.sends([], 2, 2, since=0) == {"query": "a lamp"}
