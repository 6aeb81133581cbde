"""Taught names on the page and in the API. They take part in all questions of their visitor, and of no other visitor."""

import shutil
from pathlib import Path

import pytest
import torch
from app_visitors import Running, client_of
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from made_up_photos import blurred, drawn
from recalls import mixed, prefixes_of

from app.actions import adding, answering, teaching
from app.actions.adapters import write_zip
from app.actions.line import answer_photo, line_of
from app.answers.comparison import MERGE, SG_LORA, SHARED, ZERO, Comparison
from app.answers.question import Asked, Question, Scope
from app.page.views import results_html
from app.photos.libraries import PhotoLibraries
from app.visitors.kept_names import KeptNames
from app.visitors.tab import Sources, Tab
from app.visitors.visitor import Visitor
from core.backbones.peft_format import load_peft
from core.common.errors import DescriptionError, GalleryError
from core.data.image_io import open_photo
from core.experiments.teach import NONSENSE
from core.names import teach
from core.names.file import save_names
from core.names.ordinary_texts import COMMON, imagenet_class_names
from core.names.teach import TaughtNames
from core.retrieval.index import Ranking
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary
from core.retrieval.line import MOST_ASKED
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

SENTENCE = "photos of boats"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six photos of a made-up kind, and ten photos of blurred colours."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        drawn(folder, "wug", number)
    blurred(folder, [f"other {number}.png" for number in range(10)], 7)
    return sorted(folder.iterdir())


@pytest.fixture
def tab(engine: SGLora, files: list[Path]) -> Tab:
    made = Tab(Visitor())
    adding.add_uploads(engine, made, [str(path) for path in files])
    return made


def ask(engine: SGLora, tab: Tab, words: str, request: AdapterRequest | None = None, merge: bool = False) -> Comparison:
    return answering.answer(engine, tab, Asked(Question.words(words), request, merge))


def wugs(tab: Tab, n: int = 3) -> list[str]:
    return [photo.id for photo in tab.visitor.photos if photo.name.startswith("wug")][:n]


def first(tab: Tab, n: int = 6) -> list[str]:
    return [hit.label[:3] for hit in tab.comparison.columns[-1].ranking.hits[:n]]


def test_a_taught_name_finds_its_photos_at_once(engine: SGLora, tab: Tab) -> None:
    before = ask(engine, tab, "a wug")
    assert [column.title for column in before.columns] == [ZERO, SHARED] and before.names == ()
    assert first(tab) != ["wug"] * 6
    memory = tab.visitor.memory

    names = teaching.from_photos(engine, tab, "wug", wugs(tab))
    assert tab.visitor.memory - memory == sum(t.nbytes for entry in names.entries for t in (entry.photos, entry.texts)) > 0
    after = answering.answer_again(engine, tab)

    assert after is not None and [column.title for column in after.columns] == [ZERO, SHARED]
    assert after.columns[1].note != before.columns[1].note
    assert after.columns[0].ranking == before.columns[0].ranking
    assert first(tab) == ["wug"] * 6  # also those that did not teach the name
    shown = results_html.comparison(after, 6)
    assert "wug (3 photos): a name that you taught." in shown and "1 taught" in shown

    # It stays when the visitor's photos go, in another tab, and without the adapter. Other visitors do not have it.
    tab.visitor.remove(wugs(tab, 2))
    again = Tab(tab.visitor)
    ask(engine, again, "wug", AdapterRequest(SENTENCE, strength=0.0))
    assert first(again, 4) == ["wug"] * 4 and Visitor().names(engine).entries == ()


def test_rankings_are_those_of_the_adapter_with_the_name(engine: SGLora, tab: Tab) -> None:
    """By hand: cosines under zero-shot plus name and under the generated LoRA plus name, mixed by the weight."""
    teaching.from_photos(engine, tab, "wug", wugs(tab))
    answer = ask(engine, tab, "a photo of a wug", AdapterRequest(SENTENCE, strength=0.6))
    assert tab.adaptation is not None and answer.columns[-1].title == SG_LORA
    gallery, names = tab.visitor.gallery(engine), tab.visitor.names(engine)
    prefixes = gallery.contents.prefixes(range(len(gallery.photos)))
    scores = mixed(engine.backbone, prefixes, ["a photo of a wug"], tab.adaptation.lora, 0.6, names)[:, 0]
    best = scores.argsort(descending=True).tolist()
    hits = answer.columns[-1].ranking.hits
    assert [hit.key for hit in hits] == [gallery.photos[i].id for i in best]
    assert [hit.score for hit in hits] == pytest.approx(scores[best].tolist(), abs=1e-4)
    assert answer.names == ask(engine, tab, "two wugs on a boat").names == (("wug", 3),)


def test_names_change_no_question_without_them(engine: SGLora, tab: Tab) -> None:
    """In every column and direction; of the captions, only those that contain names are read differently."""
    captions = ["a dog runs", "a wug on a boat", "two daxes and a wug", "a plane", "a waxwugged floor", "wug"]
    gallery = tab.visitor.gallery(engine)
    gallery.set_captions({photo.name: [text] for photo, text in zip(tab.visitor.photos, captions, strict=False)})
    questions = [Question.words(words) for words in (*imagenet_class_names()[::40], "two people", "a waxwugged floor")]
    questions += [Question("similar", tab.visitor.photos[0].id)]

    def answers(questions: list[Question]) -> list[list[Ranking]]:
        asked = [Asked(question, AdapterRequest(SENTENCE), merge=True) for question in questions]
        shown = [answering.compute(engine, tab, each).comparison for each in asked]
        return [[column.ranking for column in each.columns] for each in shown if each is not None]

    about = [Question.photo(photo.id) for photo in tab.visitor.photos[::8]]
    before, captions_before, hits = answers(questions), answers(about), gallery.contents.hits()
    for number, name in enumerate(("wug", "dax", *NONSENSE[2:10])):
        teaching.from_photos(engine, tab, name, [tab.visitor.photos[number].id, tab.visitor.photos[number + 5].id])
    assert answers(questions) == before and len(before[0]) == 3
    assert gallery.contents.hits()["i2t"].ranks.tolist() == hits["i2t"].ranks.tolist(), "zero-shot knows no names"
    for columns_before, columns_after in zip(captions_before, answers(about), strict=True):
        for ranking, after in zip(columns_before[1:], columns_after[1:], strict=True):
            plain, named = ({hit.label: hit.score for hit in each.hits} for each in (ranking, after))
            moved = {text for text in captions if abs(plain[text] - named[text]) > 1e-6}
            assert moved == {"a wug on a boat", "two daxes and a wug", "wug"}


def test_names_can_be_renamed_given_photos_and_taken_back(engine: SGLora, tab: Tab) -> None:
    teaching.from_photos(engine, tab, "wug", wugs(tab, 1))
    teaching.from_photos(engine, tab, "WUG", wugs(tab, 3))
    assert tab.visitor.taught == (("wug", 3),)
    for change in (
        lambda: teaching.from_photos(engine, tab, "", wugs(tab)),
        lambda: teaching.from_photos(engine, tab, "dax", []),
        lambda: teaching.from_photos(engine, tab, "dax", ["made up"]),
        lambda: teaching.rename(engine, tab, "dax", "fep"),
        lambda: tab.visitor.change_names(engine, lambda names: names.remove("dax")),
    ):
        with pytest.raises(DescriptionError):
            change()
    assert tab.visitor.taught == (("wug", 3),)
    teaching.rename(engine, tab, "wug", "dax")
    assert ask(engine, tab, "dax").names == (("dax", 3),) and first(tab) == ["wug"] * 6 and tab.name == "dax"
    tab.visitor.change_names(engine, lambda names: names.remove("dax"))
    again = answering.answer_again(engine, tab)
    assert again is not None and again.names == () and first(tab) != ["wug"] * 6 and tab.visitor.taught == ()


def test_a_name_from_marks(engine: SGLora, tab: Tab) -> None:
    with pytest.raises(GalleryError, match="tick the right photos"):
        teaching.from_marks(engine, tab)
    ask(engine, tab, "my thing -snow")
    right, wrong = wugs(tab, 2), [p.id for p in tab.visitor.photos if p.name.startswith("other")][:2]
    for photo in (*right, *wrong):
        answering.mark(tab, photo, photo in right)
    entry = teaching.from_marks(engine, tab).entries[0]
    assert entry.name == tab.name == "my thing", "without the words that the question excludes"
    gallery = tab.visitor.gallery(engine)
    assert torch.equal(entry.photos, prefixes_of(gallery, right)) and torch.equal(entry.without, prefixes_of(gallery, wrong))
    again = answering.answer_again(engine, tab)
    assert first(tab) == ["wug"] * 6 and teaching.that_taught(engine, tab) == {*right}
    assert "marked as right (2)" in results_html.marked(again, tab.ticked)
    # A typed name is taught from the photos that are marked as right.
    named = teaching.from_marks(engine, tab, " blicket ").entries[-1]
    assert named.name == "blicket" and named.without is None
    assert torch.equal(named.photos, prefixes_of(gallery, right))


def test_marks_on_a_taught_name_add_photos_and_take_out_wrong_ones(engine: SGLora, tab: Tab) -> None:
    right, (wrong, *_) = wugs(tab, 3), [p.id for p in tab.visitor.photos if p.name.startswith("other")]
    teaching.from_photos(engine, tab, "wug", [right[0], wrong])
    ask(engine, tab, "a wug")
    answering.mark(tab, right[0], True)
    with pytest.raises(GalleryError, match="change nothing"):
        teaching.from_marks(engine, tab)
    answering.mark(tab, wrong, False)
    gallery = tab.visitor.gallery(engine)
    assert torch.equal(teaching.from_marks(engine, tab).entries[0].photos, prefixes_of(gallery, right[:1]))
    answering.mark(tab, right[2], True)
    assert torch.equal(teaching.from_marks(engine, tab).entries[0].photos, prefixes_of(gallery, [right[0], right[2]]))
    ask(engine, tab, "a wug")
    answering.mark(tab, right[1], True)
    assert teaching.that_taught(engine, tab) == {right[0], right[2]}
    for photo in (right[0], right[2]):
        answering.mark(tab, photo, False)
    answering.mark(tab, right[1], True)  # again: no mark
    with pytest.raises(DescriptionError, match="no photo left"):
        teaching.from_marks(engine, tab)
    assert tab.visitor.taught == (("wug", 2),)


def test_names_go_into_the_download(engine: SGLora, tab: Tab, tmp_path: Path) -> None:
    backbone = engine.backbone
    teaching.from_photos(engine, tab, "wug", wugs(tab))
    shutil.unpack_archive(write_zip(engine, tab.visitor, tab.adaptation), tmp_path / "names")
    answering.answer(engine, tab, Asked(request=AdapterRequest(SENTENCE, strength=1.0)))
    shutil.unpack_archive(write_zip(engine, tab.visitor, tab.adaptation), tmp_path / "both")
    for folder, base in (("names", backbone.shared), ("both", tab.adaptation.lora)):
        lora, origin = load_peft(tmp_path / folder, list(backbone.linears.values()), backbone.fingerprint)
        expected, words = tab.visitor.names(engine).on(base), ["a wug", "a dog"]
        assert torch.allclose(backbone.encode_text(words, lora), backbone.encode_text(words, expected), atol=1e-5)
        assert origin["names"] == [{"name": "wug", "photos": 3}]
        told = (tmp_path / folder / "README.md").read_text()
        assert "Taught names: wug (3 photos)" in told
        # Common words are asked with the adapter that was written, and with the same without the name.
        texts = [f"a photo of a {word}" for word in COMMON]
        kept = (backbone.encode_text(texts, lora) * backbone.encode_text(texts, base)).sum(1)
        facts = {
            "words": len(COMMON),
            "mean": float(kept.mean()),
            "least": float(kept.min()),
            "worst": COMMON[int(kept.argmin())],
        }
        assert origin["kept"] == pytest.approx(facts, abs=1e-3) and f"“{facts['worst']}” keeps least" in told
    answering.answer(engine, tab, Asked(request=AdapterRequest("quarterly tax returns")))
    tab.visitor.change_names(engine, lambda names: names.remove("wug"))
    for number, adaptation in enumerate((None, tab.adaptation)):  # without a sentence, or with one that is not applied
        shutil.unpack_archive(path := write_zip(engine, tab.visitor, adaptation), tmp_path / f"shared{number}")
        lora, origin = load_peft(tmp_path / f"shared{number}", list(backbone.linears.values()), backbone.fingerprint)
        assert torch.allclose(
            backbone.encode_text(["a dog"], lora), backbone.encode_text(["a dog"], backbone.shared), atol=1e-5
        )
        assert "shared" in path.name and "tax" not in (tmp_path / f"shared{number}" / "README.md").read_text()
        assert origin["weight"] == DEFAULT_WEIGHT and "description" not in origin


def test_answers_draw_the_line_below_a_name(engine: SGLora, tab: Tab) -> None:
    """A visitor who knows all six wugs answers. The photos that taught the name are never asked about."""
    name = {photo.id: photo.name for photo in tab.visitor.photos}
    teaching.from_photos(engine, tab, "wug", wugs(tab, 2))
    for words, alone in (("a boat", False), ("a wug outdoors", False), ("a photo of a Wug", True), ("wug", True)):
        ask(engine, tab, words)
        assert (line_of(engine, tab) is not None) == alone
    answering.mark(tab, other := next(key for key in name if name[key] == "other 3.png"), False)  # a mark is an answer, too
    asked = list[str]()
    while (now := line_of(engine, tab)) is not None and now.ask is not None:
        assert now.asked == len(asked)
        asked.append(key := now.ask.key)
        answer_photo(engine, tab, next(each for each in name if each != key), True)  # a click on what was shown before
        answer_photo(engine, tab, key, name[key].startswith("wug"))
        answering.refresh(engine, tab)
    assert now is not None and now.asked == len(asked) == len({*asked}) == MOST_ASKED and not {*wugs(tab, 2), other} & {*asked}
    right = [key for key in asked if name[key].startswith("wug")]
    assert (now.line, now.above) == (6, 6) and first(tab) == ["wug"] * 6
    assert tab.ticked == right and tab.visitor.taught == (("wug", 2 + len(right)),) and right
    answering.mark(tab, tab.comparison.columns[-1].ranking.hits[0].key, False)  # the others say that the line is further down
    shown = results_html.line(tab.comparison, line_of(engine, tab))
    assert 'data-line="6"' in shown and "Photos above the line: 5" in shown


def test_names_as_a_file_for_another_visitor(engine: SGLora, tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = prefixes_of(tab.visitor.gallery(engine), wugs(tab, 1))
    names, other = TaughtNames(engine.backbone), Tab(Visitor())
    for name in ("fep", "dax", "zorp"):
        names = names.add(name, photo)
    path = tab.visitor.files.write("names.safetensors", save_names(names))
    for _ in range(2):  # the same photos again change nothing
        assert teaching.from_file(engine, other, str(path)) == (3, [])
    assert other.visitor.taught == (("fep", 1), ("dax", 1), ("zorp", 1))
    monkeypatch.setattr(teach, "MAX_NAMES", 3)  # of too many names, the first are loaded
    tab.visitor.change_names(engine, lambda names: names.add("name", photo))
    loaded, failed = teaching.from_file(engine, tab, str(path))
    assert loaded == 2 and len(failed) == 1 and "“zorp” would be more than" in str(failed[0])
    assert [name for name, _ in tab.visitor.taught[-2:]] == ["fep", "dax"]


def test_names_that_the_browser_kept_come_back_once(engine: SGLora, tab: Tab) -> None:
    teaching.from_photos(engine, tab, "wug", wugs(tab))
    kept = KeptNames().with_names(tab.visitor.names(engine)).files
    again = Visitor()
    assert again.names(engine).entries == ()  # the browser was not heard yet
    again.hear_names(kept)
    assert [entry.name for entry in again.names(engine).entries] == ["wug"] and again.taught == (("wug", 3),)
    again.change_names(engine, lambda names: names.remove("wug"))
    again.hear_names(kept)  # another tab of the browser has the older names
    assert again.names(engine).entries == ()
    for memory in ("made up", {engine.backbone.fingerprint: "made up"}):
        harmed = Visitor()
        harmed.hear_names(memory)
        assert harmed.names(engine).entries == () and harmed.names_lost
        harmed.change_names(engine, lambda names: names.add("dax", prefixes_of(tab.visitor.gallery(engine), wugs(tab))))
        assert harmed.taught == (("dax", 3),)


def test_photos_of_a_library_teach_too(engine: SGLora, tab: Tab, tmp_path: Path) -> None:
    """The visitor's own photos are the wugs; the library has the others."""
    blobs = blurred(tmp_path / "photos", [f"blob {number}.png" for number in range(3)], 11)[:2]
    index_folders(PhotoLibrary.create(tmp_path / "pictures", engine.backbone), [tmp_path / "photos"], engine.backbone)
    tab.sources = Sources(PhotoLibraries([tmp_path / "pictures"]))
    answer = answering.answer(engine, tab, Asked(Question.words("my thing", Scope(True, library="pictures"))))
    chosen = {hit.label: hit.key for hit in answer.columns[0].ranking.hits}
    keys = [*(chosen[path.name] for path in blobs), *wugs(tab, 1)]
    names, backbone = teaching.from_photos(engine, tab, "both", keys), engine.backbone
    own = prefixes_of(tab.visitor.gallery(engine), wugs(tab, 1))
    expected = torch.cat([backbone.prefix(torch.stack([backbone.pixels(open_photo(path)) for path in blobs])), own])
    taught = backbone.suffix(names.entries[0].photos)
    assert len(taught) == 3 and (taught @ backbone.suffix(expected).T).max(0).values.min() > 0.999
    answering.answer(engine, tab, Asked(Question.words("both", Scope(True, library="pictures"))))
    while (now := line_of(engine, tab)) is not None and now.ask is not None:  # also of those in the library
        assert now.ask.key not in keys
        answer_photo(engine, tab, now.ask.key, False)
    assert now is not None and now.asked == MOST_ASKED and now.name == "both"


def test_adapters_count_as_memory_once_each(engine: SGLora, tab: Tab) -> None:
    """SG-LoRA's adapter and the merge count; names add none. Parts that all visitors share do not count."""
    ask(engine, tab, "a cat")
    assert tab.memory == 0
    columns = ask(engine, tab, "a cat", AdapterRequest("photos of cats"), merge=True).columns
    assert [column.title for column in columns] == [ZERO, MERGE, SG_LORA]
    merged, generated = (4 * sum(f.a.numel() + f.b.numel() for f in c.adapter.lora.factors.values()) for c in columns[1:])
    assert tab.memory == generated + merged
    teaching.from_photos(engine, tab, "wug", wugs(tab))
    ask(engine, tab, "a wug", AdapterRequest("photos of cats"), merge=True)
    assert tab.memory == generated + merged


def test_teach_through_the_api(app: Running, files: list[Path], tmp_path: Path) -> None:
    client, other = (client_of(app.url, tmp_path / n) for n in "ab")
    for each in (client, other):
        each.predict(files=[handle_file(path) for path in files], captions="", api_name="/index")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    shown = [handle_file(path) for path in (*files[-3:], broken)]

    answer = client.predict(name="wug", files=shown, api_name="/teach")

    assert answer["names"] == [{"name": "wug", "photos": 3}] and answer["remarks"] == []
    assert [each["name"] for each in answer["failed"]] == ["broken.jpg"]
    hits = client.predict(query="a wug", description=SENTENCE, api_name="/search")
    assert all(hit["name"].startswith("wug") for hit in hits["sg_lora"][:6])
    theirs = other.predict(query="a wug", description=SENTENCE, api_name="/search")
    assert theirs["zero_shot"] == hits["zero_shot"] and theirs["sg_lora"] != hits["sg_lora"]
    more = client.predict(name="Wug", photos="wug 0.png\nwug 1.png", api_name="/teach")
    assert more["names"] == [{"name": "wug", "photos": 5}]
    for given, photos, text in (
        ([handle_file(broken)], "", "no readable photo"),
        (None, "nowhere.jpg", "No photo here is called nowhere"),
    ):
        with pytest.raises(AppError, match=text):
            client.predict(name="dax", files=given, photos=photos, api_name="/teach")
    assert client.predict(name="wug", take_back=True, api_name="/teach")["names"] == []
