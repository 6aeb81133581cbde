"""The line below a name's photos in a ranking, from a few answers to “does this photo show it?”.

Answers halve what is left on a logarithmic scale: 10 or 11 right photos differ as much as 100 or 110. Rankings are not perfect.
So the line is where fewest answers are wrong, a yes below it or a no above, and questions go on around it.
"""

from collections.abc import Iterable, Sequence
from math import log, sqrt

MOST_ASKED = 10


def bisect(answers: Sequence[tuple[int, bool]], total: int, free: Iterable[int]) -> tuple[int, int | None]:
    """How many of ``total`` photos are above the line, and the place to ask about next: of those in ``free`` the nearest to it.
    ``answers``: places, from 0, and whether their photos show the name."""
    lines = [0, *sorted(place + 1 for place, yes in answers if yes)]
    low = min(lines, key=lambda line: sum((place < line) != yes for place, yes in answers))
    high = min((place for place, _ in answers if place >= low), default=total)
    middle = sqrt((low + 1) * (high + 1))
    return round(middle) - 1, min(free, key=lambda place: abs(log((place + 1) / middle)), default=None)
