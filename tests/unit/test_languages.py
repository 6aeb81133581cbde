"""Language detection, with sentences that people could write about their photos."""

import pytest

from core.common.languages import TOWER_LANGUAGES, language, language_remark

KNOWN = {
    "Arabic": ("صور كلبي في الثلج", "أطفال يلعبون على الشاطئ"),
    "Chinese": ("我的狗在雪地里的照片", "写真 犬 雪"),
    "Dutch": ("foto's van mijn hond in de sneeuw", "mensen aan het surfen"),
    "French": (
        "les photos de mon chien dans la neige",
        "des enfants à la plage",
        "photos d'un mariage",
        "un chien",
        "la plage",
    ),
    "German": ("Fotos von meinem Hund im Schnee", "Kinder, die am Strand spielen und baden", "meine Katze"),
    "Italian": ("foto del mio cane nella neve", "bambini che giocano sulla spiaggia", "la spiaggia", "un uomo"),
    "Japanese": ("雪の中の私の犬の写真", "サーフィン"),
    "Korean": ("눈 속의 강아지 사진",),
    "Polish": ("zdjęcia mojego psa w śniegu", "dzieci bawiące się na plaży"),
    "Portuguese": ("fotos dos meus filhos na praia", "um cão na neve", "praia de areia"),
    "Russian": ("фотографии моей собаки в снегу", "дети играют на пляже"),
    "Spanish": ("fotos de mis hijos en la playa", "un niño con una pelota", "comida en la mesa", "gente bailando en la noche"),
    "Thai": ("รูปถ่ายสุนัขของฉันในหิมะ",),
    "Turkish": ("karda köpeğimin fotoğrafları", "bir kız ve bir köpek"),
}
UNKNOWN = {
    "Belarusian": ("здымкі майго сабакі ў снезе",),
    "Bulgarian": ("снимки на моето куче в снега",),
    "Croatian": ("fotografije mog psa u snijegu",),
    "Czech": ("fotky mého psa ve sněhu", "děti hrající si na pláži", "kočka"),
    "Danish or Norwegian": ("billeder af min hund i sneen", "bilder av hunden min i snøen"),
    "Finnish": ("kuvia minun koirastani lumessa",),
    "Greek": ("φωτογραφίες του σκύλου μου στο χιόνι",),
    "Hebrew": ("תמונות של הכלב שלי בשלג",),
    "Hindi": ("बर्फ में मेरे कुत्ते की तस्वीरें",),
    "Hungarian": ("képek a kutyámról és az esküvőnkről",),
    "Indonesian": ("gambar anjing saya yang sedang bermain di salju",),
    "Persian": ("عکس‌های سگ من در برف",),
    "Romanian": ("fotografii cu câinele meu în zăpadă",),
    "Serbian": ("слике мог пса у снегу",),
    "Swedish": ("bilder på min hund i snön", "barn som leker på stranden"),
    "Tamil": ("பனியில் என் நாய்",),
    "Ukrainian": ("фотографії мого собаки в снігу",),
    "Vietnamese": ("ảnh con chó của tôi trong tuyết",),
}


@pytest.mark.parametrize(("name", "texts"), [*KNOWN.items(), *UNKNOWN.items()])
def test_a_language_is_recognised_and_named_if_the_tower_does_not_know_it(name: str, texts: tuple[str, ...]) -> None:
    assert {language(text) for text in texts} == {name}
    assert (name in TOWER_LANGUAGES) is (name in KNOWN)
    for remark in map(language_remark, texts):
        assert (
            remark is None if name in KNOWN else remark and "seems to be {language}" in remark.template and name in str(remark)
        )


def test_known_languages_depend_on_the_text_tower() -> None:
    assert language_remark("Fotos von meinem Hund im Schnee", known={"English"})
    assert language_remark("photos of my dog in the snow", known={"English"}) is None


def test_english_with_foreign_words_is_english() -> None:
    english = ["my kids", "Christmas", "birthday party", "street photos", "minutes of the board meeting", "an invoice"]
    english += ["a man in a café", "the die is cast", "children on a swing in the park", "do not enter", "my trip to Tromsø"]
    english += ["a smörgåsbord on a table", "photos of Kraków and Plzeň", "phở noodles", "a pro-America sign"]
    english += ["A S.C.U.B.A. diver"]
    assert [text for text in english if language(text) != "English"] == []


def test_a_place_with_foreign_letters_is_no_foreign_sentence() -> None:
    assert [text for text in ("Tromsø", "Malmö Ystad", "Škoda", "Đà Lạt", "la la land") if language_remark(text)] == []


@pytest.mark.parametrize(
    "text", ["", "🐕🐕🐕", "123 456", "\ud800 \udfff", "\u202e\u200f", "x" * 100_000, "ß" * 100_000, "a" + "\u0301" * 5_000]
)
def test_texts_without_a_language_count_as_known(text: str) -> None:
    assert language(text) in TOWER_LANGUAGES and language_remark(text) is None
