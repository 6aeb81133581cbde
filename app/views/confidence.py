"""What the confidence in a description means, in words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app import texts
from core.sglora.confidence import SURE, Confidence

MAX_NAMED = 4


def words(found: Confidence | None, names: Sequence[str], remark: str = "") -> str:
    """How likely it is that adapting helps, what is applied, and what that rests on.

    Args:
        found: None where the experts were never calibrated.
        names: the routed experts, closest first. remark: what is odd about the sentence.
    """
    odd = f"<b>{escape(remark)}</b> " if remark else ""
    if found is None:
        return _panel("unknown", odd + escape(texts.NOT_CALIBRATED))
    on = escape(
        listed(names[:MAX_NAMED] if len(names) <= MAX_NAMED else [*names[:MAX_NAMED], f"{len(names) - MAX_NAMED} more"])
    )
    closeness = f"{found.closeness:.2f}"
    level, likely, advice = advised(found)
    if not found.fits:
        said = f"{odd or f'<b>{texts.NO_EXPERT_FITS}</b> '}{advice} {texts.SUGGESTION}"
        return _panel("low", said, texts.NO_FIT_BASIS.format(closeness=closeness))
    parts = [texts.CHANCE_BASIS.format(names=on, closeness=closeness, transfer=f"{found.transfer:+.1f}")]
    if found.reliable:  # else a figure would promise more than the calibration can keep
        expected = texts.EXPECTED.format(gain=f"{found.gain:+.1f}", spread=f"{found.spread:.1f}")
        parts = [texts.CHANCE.format(chance=_percent(found.probability)), expected, *parts]
    if found.forgetting >= 1:
        parts.append(texts.FORGETS.format(points=f"{found.forgetting:.0f}"))
    return _panel(level, f"{odd}<b>{likely}</b> {advice}", " ".join(parts))


def advised(found: Confidence) -> tuple[str, str, str]:
    """How what is applied is coloured ("high", "medium", "low"), how likely it is to help, and what is done about it."""
    if found.strength <= 0:
        return "low", texts.UNLIKELY, texts.ADVICE_NOTHING
    if found.own <= 0:
        return "medium", texts.MAYBE, texts.ADVICE_SHARED
    if found.own < 1:
        return "medium", texts.MAYBE, texts.ADVICE_MIXED.format(own=f"{found.own * 100:.0f}")
    if found.strength < 1:
        likely = texts.LIKELY if found.probability >= SURE else texts.MAYBE
        return "medium", likely, texts.ADVICE_PART.format(strength=f"{found.strength:.2g}")
    return "high", texts.LIKELY, texts.ADVICE_ALL


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
