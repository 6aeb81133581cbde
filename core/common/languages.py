"""Which language a sentence seems to be in: by its script, and within a script by function words and letters.

A sentence is one line about photos. It is too short for statistics over letters, and function words are what it has for sure.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

# The languages of the Universal Sentence Encoder, multilingual v3 (arXiv 1907.04307).
TOWER_LANGUAGES = frozenset(
    """
    Arabic Chinese Dutch English French German Italian Japanese Korean Polish Portuguese Russian Spanish Thai Turkish
    """.split()
)


@dataclass(frozen=True)
class _Signs:
    """What shows a language: function words (and words for photos), and letters that its neighbours do not have."""

    words: frozenset[str]
    letters: frozenset[str]

    @classmethod
    def of(cls, words: str, letters: str = "") -> _Signs:
        return cls(frozenset(words.split()), frozenset(letters))

    def count(self, words: list[str]) -> int:
        """In how many words it shows. A name with a capital letter is no sign: "Tromsø" may stand in any language."""
        return sum(w.casefold() in self.words or (w[0].islower() and not self.letters.isdisjoint(w)) for w in words)


# Of languages with equal counts the first one is taken.
_LATIN: Mapping[str, _Signs] = {
    "English": _Signs.of(
        "a an the of and or in on at with my our your his her their is are was for from to by who that this these those me die "
        "it its while as into through over under near up out off no not do has have two people man woman photos photo pictures"
    ),
    "German": _Signs.of(
        "der die das und in an mit von vom im ein eine einen einem einer eines meine meinem meinen meiner unser unsere unserem "
        "ist sind auf bei beim nach für über unter durch fotos bilder aus zum zur am sich auf während zwei",
        "ß",
    ),
    "French": _Signs.of(
        "le la les l d des une un du de et à a il elle lui avec mes mon ma notre nos son sa ses dans en sur au aux est "
        "sont par pour chez qui se photos deux",
        "œ",
    ),
    "Spanish": _Signs.of(
        "el la los las un una unos unas de con del mi mis su sus nuestro nuestra nuestros en y por para al se que fotos foto "
        "imágenes mientras dos",
        "ñ",
    ),
    "Italian": _Signs.of(
        "il lo la gli le i un una di a da con del della dei delle dello al alla mio mia mie miei nostra nostri su sul sulla "
        "nel nella che si foto e in per mentre due"
    ),
    "Portuguese": _Signs.of(
        "o a os as um uma com de do da dos das ao meu minha meus minhas nosso nossa nossos seu sua no na nas nos em fotos e "
        "por para que se enquanto dois",
        "ãõ",
    ),
    "Dutch": _Signs.of(
        "de het een van en met in mijn onze ons zijn haar op bij aan naar foto's foto zijn voor uit door over die dat terwijl "
        "twee is"
    ),
    "Polish": _Signs.of(
        "i w z we na ze do od po o przy dla pod nad jest są się nie który która które jak swój swoim moje moich mój moja "
        "mojego mojej nasze naszej naszych lub zdjęcia zdjęcie dwa dwóch",
        "łąęśźżń",
    ),
    "Turkish": _Signs.of(
        "ve bir ile bu için da de olan benim bizim çok fotoğrafları fotoğraf resimleri üzerinde içinde iki", "ğışİ"
    ),
    "Czech": _Signs.of(
        "a v na s se z ze do od u po při je jsou si který která které jako své svého jeho její moje můj mého mé mých mojí "
        "našeho naše našich nebo ve ke k o fotky fotografie obrázky dva dvě",
        "ěřůčšžýď",
    ),
    "Slovak": _Signs.of(
        "a v na s so sa si z zo do od u po pri pre je sú ktorý ktorá ktoré ako jeho moje môj môjho mojej mojich naše našej "
        "našich alebo vo o fotky fotografie obrázky dva dve",
        "ľĺŕôčšžýď",
    ),
    "Hungarian": _Signs.of(
        "a az egy és van vannak meg nem hogy ez ezek fotók képek kép képei fényképek között alatt mellett két", "őű"
    ),
    "Romanian": _Signs.of(
        "și şi un o cu de la în pe din care este sunt mea meu mei mele noastre noștri pentru fotografii poze lui ale unui unei "
        "două doi",
        "țșţă",
    ),
    "Croatian": _Signs.of(
        "i u na s sa je su se od do za pri iz koji koja koje moj moja moje mog mojeg moga mojih naš naše naših fotografije "
        "slike dva dvije",
        "đčšž",
    ),
    "Swedish": _Signs.of(
        "och en ett i på med av för som är den det de till från min mitt mina vår våra sin sitt hans hennes bilder foton över "
        "under vid när två",
        "å",
    ),
    "Danish or Norwegian": _Signs.of(
        "og en et ei i på med av af for som er den det de til fra min mit mitt mine vår vores våre sin sitt bilder billeder "
        "over under ved når to",
        "øæå",
    ),
    "Finnish": _Signs.of(
        "ja on ovat minun meidän hänen kuvia kuva kuvat valokuvia jossa joka jotka kanssa kun se ei mies nainen lapset koira "
        "koirani lapsia kaksi"
    ),
    "Estonian": _Signs.of("ja on minu meie tema pildid pilt fotod mis kes koos oma kui juures peal kaks"),
    "Latvian": _Signs.of("un ar no uz ir mana mani mūsu bildes fotogrāfijas kas pie pa divi", "āēīūķļņģčšž"),
    "Lithuanian": _Signs.of("ir su iš ant yra mano mūsų nuotraukos kurie kuris prie per du", "ėįųūčšž"),
    "Vietnamese": _Signs.of(
        "của và một những trong trên ảnh tôi người con bé", "ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹơưăđ"
    ),
    "Indonesian": _Signs.of(
        "dan di yang dengan dari ke untuk ini itu saya kami foto-foto foto gambar sebuah seorang seekor anak sedang pada dua"
    ),
}
_CYRILLIC: Mapping[str, _Signs] = {
    "Russian": _Signs.of("и в на с из от по у для мой моя мои моего моей моих наш наши фото фотографии который два", "ыэё"),
    "Ukrainian": _Signs.of("і й в у на з із від по для мій моя мої мого моєї моїх наш наші фото фотографії який два", "іїєґ"),
    "Belarusian": _Signs.of("і ў на з ад па для мой мая мае майго нашы фота два", "ўі"),
    "Bulgarian": _Signs.of(
        "и в на с със от по за към моя моят моите моето моята нашите снимки снимка който която което се две двама", "ъ"
    ),
    "Serbian": _Signs.of("и у на са од по за мој моја моје мог мојих нашег слике који се два", "јљњћђџ"),
}
_ARABIC: Mapping[str, _Signs] = {
    "Arabic": _Signs.of("في من على مع إلى عن صور صورة التي الذي", "ةىإأؤ"),
    "Persian": _Signs.of("در از با به که را های عکس عکسهای من روی است", "پچژگکی"),
    "Urdu": _Signs.of("میں کے کی کا سے پر اور ہے ہیں تصاویر", "ٹڈڑےںہ"),
}
# What languages are told apart in: a script as Unicode names its letters, and its languages.
_SCRIPTS = {"LATIN": _LATIN, "CYRILLIC": _CYRILLIC, "ARABIC": _ARABIC}
_ONE_LANGUAGE = {
    "CJK": "Chinese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "DEVANAGARI": "Hindi",
}
_READ = 500  # characters
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"(?<!['’.])\b[^\W\d_]+(?:'s)?\b(?!\.\w)")  # of "S.C.U.B.A." none


def language(text: str) -> str:
    """The language that a sentence seems to be in, by its English name.

    Without a sign of another one it is English, or the first language of its script; only the first 500 characters are read.
    """
    text = unicodedata.normalize("NFC", text[:_READ])
    scripts = Counter(unicodedata.name(letter, "?").partition(" ")[0] for letter in _LETTER.findall(text))
    if not scripts:
        return "English"
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        scripts["HIRAGANA"] += scripts.pop("CJK", 0)  # Japanese is written with Chinese characters, too
    script = max(scripts, key=lambda each: scripts[each])
    languages = _SCRIPTS.get(script)
    if languages is None:
        return _ONE_LANGUAGE.get(script, script.capitalize())
    words = _WORD.findall(text)
    found = {name: signs.count(words) for name, signs in languages.items()}
    best = max(found, key=lambda name: found[name])
    # What leads to a remark needs more than one sign in a sentence of several words: "phở noodles" is English.
    least = 1 if best in TOWER_LANGUAGES else min(2, len(words))
    return best if found[best] >= least else next(iter(languages))
