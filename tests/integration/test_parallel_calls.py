"""One client calls the endpoints in parallel: each call returns what it asked for itself."""

import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from app_visitors import Running, Visitor, client_of, launched
from gradio_client import Client
from mcp_client import call
from strangers import elsewhere
from tiny_models import tiny_backbone

from core.backbones.peft_format import load_peft
from core.experts.adapter_files import adapter_part
from core.experts.load import load_engine
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCES = ("photos of people surfing", "satellite pictures", "photos of wild animals", "photos of food on plates")
QUERIES = ("water", "a dog", "red", "a house at night")
CALLS, AT_ONCE = 60, 6


@pytest.fixture(scope="module")
def app(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with launched(engine, tmp_path_factory.mktemp("app"), mcp=True) as running:
        yield running


def predicted(client: Client, **call: Any) -> Any:
    """The answer to a call. Gradio's client cancels a call that is sent while its stream of answers ends: it is sent again."""
    for _ in range(2):
        with suppress(CancelledError):
            return client.predict(**call)
    return client.predict(**call)


def test_each_call_gets_its_own_adapter_and_file(app: Running, engine: SGLora, tmp_path: Path) -> None:
    client = client_of(app.url, tmp_path, headers=elsewhere())
    first = {sentence: engine.repository.experts[int(engine.route(sentence).chosen[0])].name for sentence in SENTENCES}

    def adapt(seed: int) -> tuple[dict, str]:
        sentence = SENTENCES[seed % len(SENTENCES)]
        return predicted(client, description=sentence, seed=seed, part="expert", api_name="/adapt")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = list(pool.map(adapt, range(CALLS)))
    for seed, (facts, file) in enumerate(made):
        sentence = SENTENCES[seed % len(SENTENCES)]
        assert (facts["seed"], facts["experts"][0]["name"]) == (seed, first[sentence])
        assert re.search(rf"seed{seed}\b", Path(file).name)
    for seed in range(0, CALLS, 23):  # the weights, too
        zipfile.ZipFile(made[seed][1]).extractall(folder := tmp_path / f"{seed}")
        lora, _ = load_peft(folder, engine.repository.layout.modules, engine.backbone.fingerprint)
        request = AdapterRequest(SENTENCES[seed % len(SENTENCES)], seed=seed)
        expected, found = adapter_part(engine, engine.adapt(request), "expert")[0].tensors(), lora.tensors()
        assert all((expected[name] - found[name]).abs().max() < 1e-3 for name in expected)


def test_each_search_gets_its_own_answer(app: Running, tmp_path: Path) -> None:
    visitor = Visitor(app, tmp_path, 1)
    visitor.add(6)
    asked = list(product(QUERIES, SENTENCES)) * 2

    def search(question: tuple[str, str]) -> dict:
        return predicted(visitor.client, query=question[0], description=question[1], api_name="/search")

    expected = {question: search(question) for question in asked[: len(QUERIES) * len(SENTENCES)]}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for question, found in zip(asked, pool.map(search, asked), strict=True):
            assert found["sg_lora"] == [pytest.approx(hit) for hit in expected[question]["sg_lora"]], question


def test_tools_of_one_mcp_visitor_answer_side_by_side(app: Running) -> None:
    def adapt(seed: int) -> dict:
        answer = call(app.url, "adapt", "a-visitor", description=SENTENCES[seed % 4], k=4, tau=0.1, seed=seed)
        return answer[0] if isinstance(answer, list | tuple) else answer

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert [facts["seed"] for facts in pool.map(adapt, range(24))] == list(range(24))


def test_a_sentence_without_experts_is_an_error(tmp_path: Path) -> None:
    with launched(load_engine(tiny_backbone(adapt="texts")), tmp_path) as running:
        visitor = Visitor(running, tmp_path, 2)
        visitor.add()
        assert visitor.client.predict(query="water", api_name="/search")["zero_shot"]
        with pytest.raises(Exception, match="no experts yet"):
            visitor.client.predict(query="water", description="photos of boats", api_name="/search")
