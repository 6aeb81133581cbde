"""How well experts fit, in the endpoints and as HTML: the notice, the applied parts, and their strength."""

import pytest
import torch
from app_visitors import Running, client_of
from gradio_client import Client

from app.languages import texts
from app.page.views import experts_html, page_html
from core.common.messages import message
from core.experts.adapter_files import routed_experts
from core.sglora.engine import SGLora
from core.sglora.fit import Fit
from core.sglora.router import Routing

CLOSE, FAR, ODD = "a photo of a dog", "photos of screws and bolts", "the quarterly tax report of a bank"


@pytest.fixture(scope="module")
def client(app: Running, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return client_of(app.url, tmp_path_factory.mktemp("downloads"))


@pytest.mark.parametrize(("sentence", "fits", "remark"), [(CLOSE, True, ""), (FAR, False, ""), (ODD, False, "documents")])
def test_route_is_what_core_computes_and_whether_an_expert_fits(
    client: Client, engine: SGLora, sentence: str, fits: bool, remark: str
) -> None:
    answer = client.predict(description=sentence, k=3, tau=0.2, api_name="/route")
    assert answer["experts"] == routed_experts(engine, engine.route(sentence, 3, 0.2))
    assert (answer["fit"]["fits"], remark in (answer["fit"]["remark"] or "")) == (fits, True)
    weighted = sum(expert["similarity"] * expert["weight"] for expert in answer["experts"])
    assert answer["fit"]["closeness"] == pytest.approx(weighted, abs=1e-3)


def test_photos_of_another_kind_are_named_unless_the_sentence_is_at_fault() -> None:
    fits, far = Fit(0.6, True, 2.4, None), Fit(0.2, False, 2.4, None)
    for offered, words in ((True, texts.SUGGESTION), (False, texts.EVERYDAY)):
        notice = page_html.fit_notice(fits, texts.EVERYDAY, offered)
        assert "sg-low" in notice and texts.PHOTOS_DIFFER in notice and words in notice
        assert page_html.fit_notice(far, texts.EVERYDAY, offered) == page_html.fit_notice(far, offered=offered)


@pytest.mark.parametrize(
    ("fit", "level", "words"),
    [
        (Fit(0.6, True, 2.4, None), "", ()),
        (Fit(0.2, False, 2.4, None), "sg-low", (texts.NO_EXPERT_FITS, texts.ONLY_SHARED)),
        (Fit(0.6, False, 0.0, message("In {language}.", language="<Polish>")), "sg-low", ("&lt;Polish&gt;", texts.ONLY_SHARED)),
        (Fit(0.6, True, 2.4, message("It is about documents.")), "sg-low", ("It is about documents.",)),
    ],
)
def test_a_notice_is_shown_where_there_is_something_to_say(fit: Fit, level: str, words: tuple[str, ...]) -> None:
    notice = page_html.fit_notice(fit)
    assert bool(notice) is bool(level) and level in notice
    assert all(part in notice for part in words)
    assert (texts.ONLY_SHARED in notice) is not fit.fits


@pytest.mark.parametrize("seed", range(20))
def test_weights_are_shown_in_whole_percents_that_add_up(seed: int) -> None:
    weights = torch.softmax(3 * torch.randn(7, generator=torch.Generator().manual_seed(seed)), 0)
    shown = experts_html.percents(Routing("", torch.zeros(1), torch.zeros(9), torch.arange(2, 9), weights, 0.1))
    assert sum(shown.values()) == 100 and list(shown) == list(range(2, 9))
    assert all(abs(shown[i + 2] - 100 * float(weight)) < 1 for i, weight in enumerate(weights))
