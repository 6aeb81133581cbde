"""How well the experts fit a sentence, where there is something to say."""

from __future__ import annotations

from markupsafe import Markup

from app import texts
from app.views.template import macros
from core.sglora.fit import Fit

_panel = macros("page.html").fit


def notice(fit: Fit) -> Markup:
    """That no expert fits, what is odd about the sentence, or what its experts forget; empty where all is well."""
    if not fit.fits:
        bold = texts.translated(fit.remark.text) if fit.remark else texts.NO_EXPERT_FITS
        return _panel("low", bold, f"{texts.ONLY_SHARED} {texts.SUGGESTION}")
    if fit.forgetting >= 1:
        return _panel("medium", "", texts.FORGETS.format(points=fit.forgetting))
    return Markup("")
