"""The experiment about taught names, on a small data folder of made-up photos. Its shares equal those of brute force."""

import json

import numpy as np
import pytest
import torch
from made_up_photos import blurred, draw
from recalls import mixed
from sklearn.metrics import average_precision_score

from core.backbones.embedded import EmbeddedBackbone
from core.experiments import learn, teach
from core.experiments.context import ExperimentContext
from core.names.ridge import Background
from core.names.teach import TaughtNames
from core.retrieval.columns import columns, text_rows
from core.retrieval.popularity import spread_rows
from core.sglora.request import DEFAULT_WEIGHT

pytestmark = pytest.mark.slow
PHOTOS = 24  # for each class; three quarters of them may teach


@pytest.fixture(scope="module")
def context(backbone: EmbeddedBackbone, tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    """Two classes of drawn shapes, and a few captioned photos of noise."""
    root = tmp_path_factory.mktemp("data")
    (root / "labelled" / "images").mkdir(parents=True)
    lines = []
    for shape, label in enumerate(("cross", "dots")):
        for i in range(PHOTOS):
            draw(root / "labelled" / "images" / f"{label}{i}.png", shape, shape, i)
            lines.append({"image": f"images/{label}{i}.png", "set": "shapes", "domain": "shapes", "label": label})
    (root / "labelled" / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    blurred(root / "flickr8k" / "images", [f"{i}.png" for i in range(40)], 0)
    lines = [
        {"image": f"images/{i}.png", "split": "val" if i < 20 else "train", "captions": [f"a dog on carpet number {i}"]}
        for i in range(40)
    ]
    (root / "flickr8k" / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return ExperimentContext(root, tmp_path_factory.mktemp("cache"), backbone, lambda line: None)


def test_photos_that_teach_do_not_measure(context: ExperimentContext) -> None:
    corpus = context.corpus
    found = list(teach.draws(corpus))
    assert [domain for domain, _ in found] == ["shapes"] * teach.DRAWS
    for _, drawn in found:
        assert sorted(drawn.labels) == ["cross", "dots"]
        own, held = np.concatenate(drawn.taught), np.concatenate(drawn.held)
        assert corpus.train[own].all() and corpus.test[held].all()


def scores(context: ExperimentContext, names: TaughtNames, text: str, rows: np.ndarray) -> np.ndarray:
    """The scores of photos for a text, zero-shot and adapted scores mixed as on the page."""
    photos = context.corpus.prefixes[torch.from_numpy(rows)]
    return mixed(context.backbone, photos, [text], context.backbone.shared, DEFAULT_WEIGHT, names)[:, 0].numpy()


def test_shares_are_those_counted_by_hand(context: ExperimentContext) -> None:
    _, drawn = next(teach.draws(context.corpus))
    others, names = teach.everyday(context.corpus), teach.taught(context, drawn.nonsense, drawn.taught, 3)
    named, texts = teach.adapter(context, names), [f"a photo of a {name}" for name in drawn.nonsense]
    shown = [context.corpus.indexed(rows, named) for rows in (*drawn.held, others)]
    found = teach.measured(
        text_rows(context.backbone, context.backbone.text_prefix(texts), named, texts), shown[:-1], shown[-1]
    )
    right, ten = [], []
    for i, rows in enumerate(drawn.held):
        each = np.stack([scores(context, names, text, np.concatenate([rows, others])) for text in texts])
        right.append(np.mean(each[:, : len(rows)].argmax(0) == i))
        ten.append(np.mean(np.argsort(-each[i])[: min(10, len(rows))] < len(rows)))
    assert found == {"right": pytest.approx(100 * np.mean(right), abs=0.01), "ten": pytest.approx(100 * np.mean(ten), abs=0.01)}


def test_precision_and_recall_are_those_counted_by_hand(context: ExperimentContext) -> None:
    corpus = context.corpus
    _, drawn = next(teach.draws(corpus))
    others, name = teach.everyday(corpus), drawn.nonsense[0]
    searched = corpus.indexed(np.concatenate([others, *drawn.held]), teach.adapter(context))
    found = {(row["photos"], row["part"], row["rule"]): row for row in teach.cuts(context, drawn, others, searched)}
    rules = [*teach.RULES, teach.ANSWERS]
    assert set(found) == {(n, part, rule) for n in (3, 10) for part in ("test", "validation") for rule in rules}

    background = Background.of(columns(context.backbone, searched))

    def taught(without: int | None = None) -> TaughtNames:
        """All names, from three photos each; ``without``: the place of the photo of each that is left out."""
        names = TaughtNames(context.backbone).among(background)
        for each, rows in zip(drawn.nonsense, drawn.taught, strict=True):
            kept = [row for place, row in enumerate(rows[:3].tolist()) if place != without]
            names = names.add(each, corpus.prefixes[torch.tensor(kept)])
        return names

    cut = np.mean([scores(context, taught(place), name, drawn.taught[0][place : place + 1]) for place in range(3)])
    rows = np.concatenate([*drawn.held, others])
    above = rows[scores(context, taught(), name, rows) >= cut]
    right = np.isin(above, drawn.held[0]).sum()
    row = found[3, "test", "mean"]
    assert row["precision"] == pytest.approx(100 * right / max(len(above), 1), abs=0.01)
    assert row["recall"] == pytest.approx(100 * right / len(drawn.held[0]), abs=0.01)


def test_ten_answers_find_the_end_of_a_right_ranking(context: ExperimentContext) -> None:
    """Where a name's photos are first, halving ends after the last of them: 10 answers tell up to 1,000 places apart."""
    corpus, plain = context.corpus, teach.adapter(context)
    _, drawn = next(teach.draws(corpus))
    rows = np.concatenate([teach.everyday(corpus), *drawn.held])
    searched, mine = corpus.indexed(rows, plain), torch.from_numpy(np.isin(rows, drawn.held[0]))
    names = teach.taught(context, drawn.nonsense, drawn.taught, 10).among(Background.of(columns(context.backbone, searched)))
    scores = searched @ teach.asked(context, names, drawn.nonsense[:1])[0]
    assert scores[mine].min() > scores[~mine].max()
    found = teach.above_answers(context, names, drawn.nonsense[0], searched, rows, mine)
    assert torch.equal(found, mine)
    none = teach.above_answers(context, names, drawn.nonsense[0], searched, rows, torch.zeros_like(mine))
    assert not none.any(), "a photo of a no is not above the line"


def test_the_whole_experiment(context: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teach, "DRAWS", 1)
    result = json.loads(json.dumps(teach.run(context)))
    plain = [row for row in result["names"] if row["wording"] == teach.PLAIN]
    taught, untaught = (teach.over("domain", plain, "right", names="nonsense", photos=n)[0] for n in (10, 0))
    assert taught > 90 and taught > untaught + 20
    assert {row["photos"] for row in result["composed"]} == {None, 0, 1, 3, 10}
    assert {row["word"] for row in result["composed"]} == {"dog"}
    assert torch.isfinite(torch.tensor([row["captions"] for row in result["forgotten"]])).all()


def test_keywords_that_are_learned(context: ExperimentContext) -> None:
    """Shares by brute force, from the scores of each photo; the folders of both kinds are learned."""
    result = json.loads(json.dumps(learn.run(context)))
    found, others = learn.keywords(context.corpus), teach.everyday(context.corpus)
    assert [each.name for each in found] == ["cross", "dots"]
    searched = np.concatenate([*(each.test for each in found), others])
    names = teach.taught(context, ["cross", "dots"], [each.train[spread_rows(len(each.train), 3)] for each in found])
    names = names.among(Background.of(columns(context.backbone, context.corpus.indexed(searched, teach.adapter(context)))))
    every = np.stack([scores(context, names, each.name, searched) for each in found])
    for place, each in enumerate(found):
        (row,) = [
            row for row in result["rows"] if (row["group"], row["variant"], row["task"]) == (learn.ALL, "names, 3", each.name)
        ]
        right = np.isin(searched, each.test)
        assert row["first"] == pytest.approx(100 * np.mean(every[:, right].argmax(0) == place), abs=0.01)
        assert row["AP"] == pytest.approx(100 * average_precision_score(right, every[place]), abs=0.1)
    assert all(row["taught"] > row["before"] for row in result["learned"] if row["learned"])
    assert set(result["price"]) == {"captions", "with a keyword", "points"} and len(learn.findings(result)) == 6
    for there in (found, found[:1]):
        rows = [row for row in result["proposals"] if row["keywords"] == len(there)]
        shows = sum(len(each.test) for each in there)
        assert [row["asked"] for row in rows] == list(learn.ASKED) and {row["of"] for row in rows} == {shows + len(others)}
        # as many right ones as photos that show a keyword, at most; each is proposed once
        assert all(0 <= row["photos"] * (row["right"] or 0) / 100 <= shows + 0.1 for row in rows)
        assert sorted((row["photos"] for row in rows), reverse=True) == [row["photos"] for row in rows]
