"""What a description says, however it is put: its subject in several templates, averaged (CLIP's prompt ensembling, arXiv
2103.00020, section 3.1.4). Experts are embedded the same way, so that "my kids" and "photos of my kids" are one thing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

TEMPLATES = ("{}", "a photo of {}", "photos of {}", "my {}")

_PHOTO_OF = re.compile(
    r"^(?:(?:a|an|the|my|our|some|many|these are|this is|here are)\s+)*(?:close-up\s+)?"
    r"(?:photo(?:graph)?s?|pictures?|pics?|images?|snapshots?|snaps|shots?)\s+(?:of|with|showing|from|that show)\s+",
    re.IGNORECASE,
)
_OF_PHOTOS = re.compile(r"(?<=\w)\s+(?:photo(?:graph)?s?|pictures?|pics?|images?|snapshots?|snaps)$", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:a|an|the|my|our|your|some)\s+", re.IGNORECASE)
# Function words: those of one language hardly occur in another. "die", "in", "me" and the like are English, too.
_ENGLISH = frozenset(
    """
    a an the of and or in on at with my our your his her their is are was for from to by who that this these those
    people photos photo pictures
    """.split()
)
_FOREIGN = {
    "German": "der das und mit von vom im ein eine einen einem einer meine meinem meinen unser unsere ist sind auf bei beim "
    "nach für über fotos bilder aus zum zur am",
    "French": "le la les des une un du et avec mes mon ma notre nos dans sur au aux est sont pour chez",
    "Spanish": "el los las una unos con del mis mi nuestro nuestra en y por para fotos imágenes al",
    "Italian": "il lo gli una con del della dei delle mio mia miei nostra nel nella sulla foto di e per",
    "Portuguese": "os as uma com do da dos das meu minha meus nosso nossa no na em fotos e para",
    "Dutch": "het een van met mijn onze op bij aan en naar foto's zijn voor uit",
}
_FOREIGN_WORDS = {language: frozenset(words.split()) - _ENGLISH for language, words in _FOREIGN.items()}
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
    """What is odd about a description, in plain words; ``kind`` is "language" or "no photos"."""

    kind: str
    text: str


def subject(text: str) -> str:
    """What the photos show, without "photos of", "… photos" and articles: "photos of my kids" and "kids pictures" are
    "kids"."""
    bare = " ".join(text.split()).strip(" .,!?;:")
    bare = _PHOTO_OF.sub("", bare) or bare
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


def language_remark(description: str) -> Remark | None:
    """Whether the sentence seems to be in another language than English, which the text tower has hardly read."""
    letters = [c for c in description if c.isalpha()]
    if letters and sum(c.isascii() or "À" <= c <= "ɏ" for c in letters) < len(letters) / 2:
        return Remark("language", "The sentence is not in Latin letters. The model was trained on English: try it in English.")
    words = re.findall(r"[^\W\d_]+(?:'s)?", description.casefold())
    found = {language: sum(w in known for w in words) for language, known in _FOREIGN_WORDS.items()}
    language = max(found, key=lambda each: found[each])
    if found[language] > sum(w in _ENGLISH for w in words):
        return Remark("language", f"The sentence seems to be {language}. The model was trained on English: try it in English.")
    return None


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
