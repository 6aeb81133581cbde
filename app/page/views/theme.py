"""Colours and fonts of the page."""

from pathlib import Path

from gradio import themes
from gradio.themes.utils.fonts import Font

STYLE = Path(__file__).parents[1] / "style.css"
# System fonts, so that the page loads nothing from other servers.
SANS = tuple(Font(name) for name in ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"))
MONO = tuple(Font(name) for name in ("ui-monospace", "Consolas", "Menlo", "monospace"))


def theme() -> themes.Base:
    hues = {"primary_hue": "indigo", "secondary_hue": "teal", "neutral_hue": "slate"}
    # One shade darker, where the defaults have less contrast than WCAG AA asks for (4.5 to 1).
    return themes.Default(**hues, font=SANS, font_mono=MONO).set(
        body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        link_text_color="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_large_text_size="*text_md",
    )
