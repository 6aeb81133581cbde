"""What the confidence in a description means, in words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app import texts
from core.sglora.confidence import Confidence

MAX_NAMED = 4


def words(found: Confidence | None, names: Sequence[str]) -> str:
    """The chance that adapting helps, what may be gained, what to do, and what that rests on.

    Args:
        found: None where the experts were never calibrated.
        names: the routed experts, closest first.
    """
    if found is None:
        return _panel("unknown", escape(texts.NOT_CALIBRATED))
    on = escape(
        listed(names[:MAX_NAMED] if len(names) <= MAX_NAMED else [*names[:MAX_NAMED], f"{len(names) - MAX_NAMED} more"])
    )
    closeness = f"{found.closeness:.2f}"
    if not found.fits:
        said = f"<b>{texts.NO_EXPERT_FITS}</b> {texts.ADVICE_NOTHING} {texts.SUGGESTION}"
        return _panel("low", said, texts.NO_FIT_BASIS.format(closeness=closeness))
    level, likely, advice = advised(found.strength)
    said = f"<b>{likely}</b> {advice}"
    chance = texts.CHANCE.format(chance=_percent(found.probability))
    expected = texts.EXPECTED.format(gain=f"{found.gain:+.1f}", spread=f"{found.spread:.1f}")
    basis = texts.CHANCE_BASIS.format(names=on, closeness=closeness, transfer=f"{found.transfer:+.1f}")
    return _panel(level, said, f"{chance} {expected} {basis}")


def advised(strength: float) -> tuple[str, str, str]:
    """How a recommended strength is coloured ("high", "medium", "low"), what it says, and what is done about it."""
    if strength >= 1:
        return "high", texts.LIKELY, texts.ADVICE_ALL
    if strength > 0:
        return "medium", texts.MAYBE, texts.ADVICE_PART.format(strength=f"{strength:.2g}")
    return "low", texts.UNLIKELY, texts.ADVICE_NOTHING


def listed(items: Sequence[str]) -> str:
    """“a, b and c”."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _percent(share: float) -> str:
    """Never 0 or 100: a forecast is not certain."""
    shown = round(share * 100)
    return "below 1 %" if shown < 1 else "above 99 %" if shown > 99 else f"{shown} %"


def _panel(level: str, said: str, basis: str = "") -> str:
    rest = f'<details><summary>{texts.WHY}</summary><p class="sg-note">{basis}</p></details>' if basis else ""
    return f'<div class="sg-confidence sg-{level}"><p>{said}</p>{rest}</div>'
