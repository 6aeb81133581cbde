"""The sample photos as a library: everybody searches, marks and teaches from them, and nobody changes them."""

import re
import threading
from collections import defaultdict

import numpy as np
import pytest
from recalls import headline, mixed

from app.actions import adding, answering, own_experts
from app.answers.comparison import RANDOM, SG_LORA, SHARED, ZERO, Comparison
from app.answers.question import Asked, Question, Scope
from app.languages import TAGS, speaking, texts
from app.page.views import results_html
from app.photos.samples import OPENING, Samples, sample_questions
from app.visitors.tab import Sources, Tab
from app.visitors.visitor import Visitor
from core.common.errors import GalleryError, PhotoError
from core.common.metrics import bootstrap_interval
from core.data.sample_photos import EVERYDAY, sample_photos
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SAMPLES = Scope(False, EVERYDAY)


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(samples=Samples())


@pytest.fixture
def tab(sources: Sources) -> Tab:
    return Tab(Visitor(), sources=sources)


def answer(engine: SGLora, tab: Tab, question: Question, request: AdapterRequest | None = None) -> Comparison:
    return answering.answer(engine, tab, Asked(question, request))


def test_visitors_share_the_samples_and_own_photos_stay_apart(engine: SGLora, tab: Tab) -> None:
    found = answer(engine, tab, Question.words("a lion", SAMPLES))
    assert {hit.label for hit in found.columns[0].ranking.hits} == {sample.name for sample in sample_photos()}
    assert not tab.visitor.has_own and tab.visitor.photos == () and tab.visitor.memory == 0
    other = Tab(Visitor(), sources=tab.sources)
    assert answer(engine, other, Question.words("a lion", SAMPLES)).photos is found.photos
    own = sample_photos()[0].path
    adding.add_uploads(engine, tab, [str(own)])
    mine = answer(engine, tab, Question.words("a lion"))
    assert [hit.label for hit in mine.columns[0].ranking.hits] == [own.name]
    shown = other.answer
    answering.refresh(engine, other)
    assert other.answer is shown, "another visitor's photos change nothing"
    with pytest.raises(GalleryError):
        adding.photos_called(engine, tab, found.photos[1].name)
    with pytest.raises(PhotoError):
        answer(engine, tab, Question("similar", found.photos[1].id))
    tab.visitor.remove([photo.id for photo in found.photos])
    assert len(tab.gallery(engine, SAMPLES).photos) == 40
    # Files of the samples are not those of the visitor, and the page shows them.
    shown = results_html.comparison(found, 6)
    assert str(found.files.folder) in shown and str(tab.visitor.files.folder) not in shown


def test_samples_train_no_own_expert(engine: SGLora, tab: Tab) -> None:
    answer(engine, tab, Question.words("a lion", SAMPLES))
    with pytest.raises(GalleryError, match="at least 20"):
        own_experts.train(engine, tab, "mine", "photos of lions", lambda *now: None, threading.Event())
    assert answering.look(engine, tab, SAMPLES) is None, "without the samples there is nothing to look at"


@pytest.mark.slow
@pytest.mark.parametrize("code", TAGS)
def test_the_sentence_earns_the_headline_of_the_page(engine: SGLora, tab: Tab, code: str) -> None:
    """The opening set, in each language: the figures are those that the test counts from plain embeddings, the right sentence
    names 15 % of all photos more than a random one, and a sentence about no photos does not."""
    scope, photos = Scope(False, OPENING), sample_photos(OPENING)
    counts = {}
    with speaking(code):
        first, names = sample_questions()[0], list(dict.fromkeys(texts.of_sample(photo.captions[0]) for photo in photos))
        for sentence in (first.description, "quarterly tax returns and invoices"):
            request = AdapterRequest(sentence)
            asked = Asked(Question.words(first.query, scope), request, random=True)
            found = answering.answer(engine, tab, asked)
            applied = [ZERO, RANDOM, SG_LORA] if sentence == first.description else [ZERO, SHARED]
            assert found is not None and found.named and [column.title for column in found.columns] == applied
            measured = answering.measure(engine, tab)
            rows = {photo.name: row for row, photo in enumerate(found.photos)}
            right = np.array([names.index(texts.of_sample(photo.captions[0])) for photo in photos])
            order = [rows[photo.name] for photo in photos]
            prefixes = tab.gallery(engine, scope).contents.prefixes(range(len(photos)))
            hits = defaultdict(list)
            for column in measured.counted:
                scores = mixed(engine.backbone, prefixes, names, column.adapter.lora, column.adapter.weight).numpy()
                first_named = (scores - np.log(np.exp(20 * scores).sum(0)) / 20).argmax(1)[order] == right
                assert int((column.hits["i2t"].ranks < 1).sum()) == pytest.approx(int(first_named.sum()), abs=1)
                hits[column.title].append(first_named.astype(float))
            counts[sentence] = {title: np.mean(each, axis=0) for title, each in hits.items()}
            shown = {c.title: int((c.hits["i2t"].ranks < 1).sum()) for c in measured.counted if c.title != RANDOM}
            page = re.sub("<[^>]+>", "", results_html.recalls(measured))
            assert headline(texts.FIRST_NAME.format(total=113), **shown) in page
            if len(hits.get(RANDOM, [])) == 8:
                low, high = (pick(int(each.sum()) for each in hits[RANDOM]) for pick in (min, max))
                mean = round(113 * counts[sentence][RANDOM].mean())
                assert texts.RANDOM_RANGE.format(n=8, mean=mean, low=low, high=high) in page
    right_sentence, nonsense = counts.values()
    mean, low, _ = bootstrap_interval(right_sentence[SG_LORA] - right_sentence[RANDOM])
    assert mean >= 0.1 and low > 0
    assert list(nonsense) == [ZERO, SHARED], "a sentence that is not applied has no column"
