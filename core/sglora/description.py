"""What a description says, however it is put: its subject in several templates, averaged (CLIP's prompt ensembling, arXiv
2103.00020, section 3.1.4). Experts are embedded the same way, so that "my kids" and "photos of my kids" are one thing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from core.common.languages import TOWER_LANGUAGES, language

# In any language: around a German or Japanese subject, the templates work as well as German ones, and better than none.
TEMPLATES = ("{}", "a photo of {}", "photos of {}", "my {}")

_PHOTO_OF = re.compile(
    r"^(?:(?:a|an|the|my|our|some|many|these are|this is|here are)\s+)*(?:close-up\s+)?"
    r"(?:photo(?:graph)?s?|pictures?|pics?|images?|snapshots?|snaps|shots?)\s+(?:of|with|showing|from|that show)\s+",
    re.IGNORECASE,
)
_OF_PHOTOS = re.compile(r"(?<=\w)\s+(?:photo(?:graph)?s?|pictures?|pics?|images?|snapshots?|snaps)$", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:a|an|the|my|our|your|some)\s+", re.IGNORECASE)
# "Photos of" in other languages, before the subject or after it. Without it, a sentence in German, French, Spanish, Italian,
# Chinese, Japanese or Russian is closer to the same one in English, and goes to the same expert more often.
_ELSEWHERE = re.compile(
    r"""
    ^(?:(?:les|des|une?|mes|nos|meine|unsere|eine?|einige|las|los|unas|mis|nuestras|le|delle|alcune|mie|nostre
        |as|umas|minhas|nossas|de|een|mijn|onze)\s+)*
    (?:fotos?|foto['’]s|photos?|photographies|bild(?:er)?|images?|imágenes|imagens|immagini|afbeeldingen
        |fotograf[ií]as|fotografie)\s+
    (?:(?:von|vom|de|du|des|del|di|della|dei|delle|da|do|das|dos|van)\s+|d['’])
    |^(?:фото(?:графи[ия]|снимки)?|zdjęci[ae]|صورة?|รูปถ่าย|ภาพถ่าย)(?:\s+|(?<=ย))
    |(?:的(?:照片|图片|相片|圖片)|の(?:写真|画像)|\s+사진(?:들)?|\s+fotoğraf(?:lar)?ı?)$
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Sentences about no photos: what is closer to one of them than to any expert is about no photos either.
NO_PHOTOS = (
    "minutes of a shareholder meeting",
    "a spreadsheet with sales figures",
    "an annual financial report",
    "invoices, receipts and tax forms",
    "source code of a computer program",
    "screenshots of software and error messages",
    "how to configure a database server",
    "a PDF document with text",
    "slides of a presentation",
    "an essay on moral philosophy",
    "the rules of Latin grammar",
    "quantum field theory lecture notes",
    "terms and conditions of an insurance",
    "election results and statistics",
    "a piece of music, an audio recording",
    "interest rates and inflation",
    "a legal contract",
    "text messages and emails",
)


class Encoder(Protocol):
    """What embeds sentences: any backbone."""

    def encode_sentence(self, texts: Sequence[str]) -> Tensor: ...


@dataclass(frozen=True)
class Remark:
    """What is odd about a description, as a message; ``kind`` is "language" or "no photos"."""

    kind: str
    text: str


def subject(text: str) -> str:
    """What the photos show, without "photos of", "… photos" and articles: "photos of my kids" and "kids pictures" are
    "kids", "Fotos von Kindern" are "Kindern"."""
    bare = " ".join(text.split()).strip(" .,!?;:。！？")
    bare = _PHOTO_OF.sub("", bare) or bare
    bare = _ELSEWHERE.sub("", bare) or bare
    bare = _ARTICLE.sub("", bare) or bare
    return _OF_PHOTOS.sub("", bare) or bare


def embed_descriptions(encoder: Encoder, descriptions: Sequence[str]) -> Tensor:
    """[n, s] unit-length embeddings, each the mean over TEMPLATES."""
    texts = [template.format(subject(d)) for d in descriptions for template in TEMPLATES]
    flat = encoder.encode_sentence(texts)
    return F.normalize(flat.view(len(descriptions), len(TEMPLATES), -1).mean(1), dim=-1)


def embed_expert(encoder: Encoder, wordings: Sequence[str]) -> Tensor:
    """[s] the key of an expert: the mean over its wordings, each in all templates."""
    return F.normalize(embed_descriptions(encoder, wordings).mean(0), dim=0)


_kept: dict[str, Tensor] = {}


def no_photos_embeddings(encoder: Encoder) -> Tensor:
    """[n, s] embeddings of NO_PHOTOS; kept by ``sentence_key``, since they take longer than all else of a routing."""
    key = str(getattr(encoder, "sentence_key", ""))
    if not key:
        return embed_descriptions(encoder, NO_PHOTOS)
    if key not in _kept:
        _kept[key] = embed_descriptions(encoder, NO_PHOTOS)
    return _kept[key]


def known_languages(encoder: Encoder) -> Collection[str]:
    """The languages that an encoder knows; those of the shipped text tower where it names none."""
    return getattr(encoder, "languages", TOWER_LANGUAGES)


def language_remark(description: str, known: Collection[str] = TOWER_LANGUAGES) -> Remark | None:
    """Whether the sentence seems to be in a language that the text tower does not know.

    Args:
        known: the languages that it knows, by their English names.
    """
    found = language(description)
    if found in known:
        return None
    return Remark("language", f"The sentence seems to be {found}, which the model does not know: try it in English.")


def no_photos_remark(closest_expert: float, closest_other: float) -> Remark | None:
    """Whether the sentence is about something that is no photo.

    Args:
        closest_expert: its similarity to the closest expert. closest_other: to the closest of NO_PHOTOS.
    """
    if closest_other <= closest_expert:
        return None
    return Remark(
        "no photos", "The sentence seems to be about documents or ideas rather than photos: say what the photos show."
    )
