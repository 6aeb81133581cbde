"""What the confidence in a description means, in words."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from app import texts
from app.views.template import macros
from core.sglora.confidence import SURE, Confidence

MAX_NAMED = 4
_panel = macros("page.html").confidence


def words(confidence: Confidence | None, names: Sequence[str], remark: str = "") -> Markup:
    """How likely it is that adapting helps, what is applied, and what that rests on.

    Args:
        confidence: None where the experts were never calibrated.
        names: the routed experts, closest first. remark: what is odd about the sentence.
    """
    odd = [remark] if remark else []
    if confidence is None:
        return _panel("unknown", odd, texts.NOT_CALIBRATED, "")
    closeness = f"{confidence.closeness:.2f}"
    level, likely, advice = advised(confidence)
    if not confidence.fits:
        basis = texts.NO_FIT_BASIS.format(closeness=closeness)
        return _panel("low", odd or [texts.NO_EXPERT_FITS], f"{advice} {texts.SUGGESTION}", basis)
    named = [*names[:MAX_NAMED], f"{len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else names
    basis = [texts.CHANCE_BASIS.format(names=listed(named), closeness=closeness, transfer=f"{confidence.transfer:+.1f}")]
    if confidence.reliable:  # else a figure would promise more than the calibration can keep
        expected = texts.EXPECTED.format(gain=f"{confidence.gain:+.1f}", spread=f"{confidence.spread:.1f}")
        basis = [texts.CHANCE.format(chance=_percent(confidence.probability)), expected, *basis]
    if confidence.forgetting >= 1:
        basis.append(texts.FORGETS.format(points=f"{confidence.forgetting:.0f}"))
    return _panel(level, [*odd, likely], advice, " ".join(basis))


def advised(confidence: Confidence) -> tuple[str, str, str]:
    """How what is applied is coloured ("high", "medium", "low"), how likely it is to help, and what is done about it."""
    if confidence.strength <= 0:
        return "low", texts.UNLIKELY, texts.ADVICE_NOTHING
    if confidence.own <= 0:
        return "medium", texts.MAYBE, texts.ADVICE_SHARED
    if confidence.own < 1:
        return "medium", texts.MAYBE, texts.ADVICE_MIXED.format(own=f"{confidence.own * 100:.0f}")
    if confidence.strength < 1:
        likely = texts.LIKELY if confidence.probability >= SURE else texts.MAYBE
        return "medium", likely, texts.ADVICE_PART.format(strength=f"{confidence.strength:.2g}")
    return "high", texts.LIKELY, texts.ADVICE_ALL


def listed(items: Sequence[str]) -> str:
    """“a, b and c”."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _percent(share: float) -> str:
    """Never 0 or 100: a forecast is not certain."""
    shown = round(share * 100)
    return "below 1 %" if shown < 1 else "above 99 %" if shown > 99 else f"{shown} %"
