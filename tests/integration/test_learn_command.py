"""``learn``: names from the keywords and folders that photos have."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Answer, Run
from made_up_photos import blurred, drawn
from sidecar_samples import DIGIKAM
from sklearn.metrics import average_precision_score

from core.backbones.embedded import EmbeddedBackbone
from core.cli.format import gaps
from core.data.sample_photos import sample_photos
from core.data.xmp import EMPTY, with_keyword
from core.names.teach import TaughtNames
from core.retrieval import learning
from core.retrieval.adapter import Adapter
from core.retrieval.gallery import Gallery
from core.retrieval.gaps import proposals
from core.retrieval.learning import Learned, average_precision, learn, with_known


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two made-up kinds in folders of their own, one photo alone in a folder, and photos that an export left."""
    root = tmp_path_factory.mktemp("learn") / "pictures"
    for number in range(9):
        drawn(root / "wug", "wug", number)
        drawn(root / "blue" / "2024", "dax", number)
    drawn(root / "lonely", "wug", 20)
    blurred(root / "export", [f"{i}.jpg" for i in range(20)], 1)
    return root


def by_keyword(found: dict[str, Any], key: str) -> dict[str, Any]:
    return {each["keyword"]: each for each in found[key]}


def test_folders_are_learned_and_searched(photos: Path, answer: Answer, run: Run, tmp_path: Path) -> None:
    library, out = tmp_path / "library", tmp_path / "names"
    answer("index", photos, "--library", library)
    found = answer("learn", "--library", library, "--out", out)
    assert (found["photos"], found["with_keywords"], found["failed"], found["out"]) == (39, 19, [], str(out))
    learned = by_keyword(found, "learned")
    assert learned["wug"]["photos"] == 9 and learned["wug"]["after"] > learned["wug"]["before"]
    (lonely,) = found["not_learned"] if "blue" in learned else [each for each in found["not_learned"] if each["photos"] == 1]
    assert lonely["keyword"] == "lonely" and "1 of the 3 photos" in lonely["reason"]
    assert found["left_out"]["after"] >= found["left_out"]["before"]
    rankings = answer("search", "wug", "--library", library, "--names", out, "--top", 9)["rankings"]
    right = {column: sum("/wug/" in hit["photo"] for hit in hits) for column, hits in rankings.items()}
    assert right["shared"] >= 8 > right["zero-shot"]
    again = answer("learn", photos, "--from", "folders", "--out", out)
    assert by_keyword(again, "learned").keys() == learned.keys()
    code, text, _ = run("learn", photos, "--out", out)
    assert code == 0 and "19 of 39 photos have keywords" in text and "“wug”, 9 photos, average precision" in text
    nothing = answer("learn", photos, "--from", "keywords", "--out", tmp_path / "none")
    assert (nothing["with_keywords"], nothing["learned"], nothing["out"]) == (0, [], None) and not (tmp_path / "none").exists()


def test_keywords_in_sidecars_and_what_cannot_be_used(photos: Path, answer: Answer, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    wugs, long = [drawn(root / "2024", "wug", number) for number in range(6)], "x" * 10_000
    blurred(root / "2023", [f"{i}.jpg" for i in range(24)], 1)
    for photo in wugs:
        photo.with_name(f"{photo.name}.xmp").write_bytes(with_keyword(with_keyword(EMPTY, "Wug"), long))
    (root / "2023" / "0.jpg.xmp").write_bytes(DIGIKAM[:500])
    found = answer("learn", root, "--out", tmp_path / "names")
    assert by_keyword(found, "learned").keys() == {"Wug"}
    assert "10000 characters" in by_keyword(found, "not_learned")[long]["reason"]
    ((damaged,),) = [found["failed"]]
    assert damaged["name"].endswith("0.jpg.xmp") and "damaged" in damaged["reason"]


def test_average_precision_is_that_of_another_library() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, right = rng.normal(size=50), rng.random(50) < 0.2
        expected = average_precision_score(right, scores) if right.any() else 0.0
        assert average_precision(scores, right) == pytest.approx(expected)


@pytest.fixture(scope="module")
def gallery(photos: Path, backbone: EmbeddedBackbone) -> Gallery:
    made = Gallery(backbone)
    made.add([(f"{file.parent.name}/{file.name}", file) for file in sorted(photos.rglob("*.*"))])
    return made


def of_kind(gallery: Gallery, kind: str) -> list[int]:
    return [row for row, photo in enumerate(gallery.photos) if photo.name.startswith(kind)]


def learned(gallery: Gallery, **keywords: list[int]) -> Learned:
    return learn(gallery.contents, keywords, Adapter.of(gallery.backbone.shared, 0.8))


def test_no_photo_that_teaches_is_measured(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it has two keywords: a photo that is left out of one is left out of both."""
    wugs, daxes = of_kind(gallery, "wug"), of_kind(gallery, "dax")
    taught: list[set[int]] = []

    def remember(names: Any, photos: Any, rows: dict[str, np.ndarray]) -> Any:
        taught.append({row for own in rows.values() for row in own.tolist()})
        return whole(names, photos, rows)

    whole = learning._taught
    monkeypatch.setattr(learning, "_taught", remember)
    keywords = {"wug": wugs, "red": wugs[:5] + daxes[:1], "thing": wugs + daxes}
    learned(gallery, **keywords)
    left_out = learning._left_out([np.array(rows) for rows in keywords.values()])
    assert not taught[0] & set(left_out.tolist())
    for rows in keywords.values():
        assert len(set(rows) & set(left_out.tolist())) >= 1 and set(rows) & taught[0]


def test_a_keyword_of_photos_without_anything_in_common_is_not_learned(gallery: Gallery) -> None:
    noise = of_kind(gallery, "1") + of_kind(gallery, "0")
    found = learned(gallery, wug=of_kind(gallery, "wug"), noise=noise[:6])
    by_name = {each.name: each for each in found.keywords}
    assert by_name["wug"].reason is None and found.names.entries[0].name == "wug"
    assert len(found.names.entries[0].photos) == len(of_kind(gallery, "wug"))  # learned again from all of its photos
    assert by_name["noise"].after is not None and by_name["noise"].after < 1


def test_too_many_keywords_keep_the_frequent_ones(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "MAX_NAMES", 1)
    wugs, daxes = of_kind(gallery, "wug"), of_kind(gallery, "dax")
    many = {f"word {i}": [wugs[i % 2]] for i in range(100_000)}
    found = learned(gallery, **many, wug=wugs, dax=daxes[:4])
    reasons = {each.name: str(each.reason) for each in found.keywords if each.reason}
    assert [entry.name for entry in found.names.entries] == ["wug"] and "more photos" in reasons["dax"]
    assert len(reasons) == 100_001


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ([], 2, "needs a folder of photos, or --library"),
        (["a", "--library", "b"], 2, "needs a folder of photos, or --library"),
        (["nowhere"], 1, "nowhere"),
        (["--library", "nowhere"], 1, "holds no library"),
    ],
)
def test_usage(run: Run, tmp_path: Path, options: list[str], code: int, reason: str) -> None:
    found, out, err = run("learn", *options, "--out", tmp_path / "names")
    assert (found, out) == (code, "") and reason in err


def test_gaps_are_filled_with_the_best_name(photos: Path, answer: Answer, run: Run, tmp_path: Path) -> None:
    """Four photos of each kind have a keyword. Those that have none get the right one, and other photos get none."""
    root = tmp_path / "pictures"
    for kind in ("wug", "dax"):
        for number in range(8):
            photo = drawn(root / "2024", kind, number)
            if number in (1, 2, 3, 6):
                photo.with_name(f"{photo.name}.xmp").write_bytes(with_keyword(EMPTY, kind))
    blurred(root / "2023", [f"{i}.jpg" for i in range(24)], 1)
    library, names, review = tmp_path / "library", tmp_path / "names", tmp_path / "review.csv"
    answer("index", root, "--library", library)
    assert {"wug", "dax"} == by_keyword(answer("learn", "--library", library, "--out", names), "learned").keys()
    tag = ("tag", "--library", library, "--names", names)
    found = answer(*tag, "--review", review)
    assert (found["with_keyword"], found["proposals"], found["tags"]) == (8, 32, [])
    written = list(csv.DictReader(review.read_text(encoding="utf-8").splitlines()))
    assert len(written) == 32 and len(list(root.rglob("*.xmp"))) == 8
    sure = {row["keyword"]: float(row["right in percent"]) for row in written if row["photo"].endswith("4.png")}
    assert sure == {"wug": 100, "dax": 100}
    tagged = by_keyword(answer(*tag, "--precision", 90), "tags")
    for kind in ("wug", "dax"):
        changed = {Path(file).name for file in tagged[kind]["changed"]}
        right = {f"{kind} {number}.png.xmp" for number in (0, 4, 5, 7)}  # the last one differs most from those that teach
        assert changed <= right and len(changed) >= 3
    told = {**answer(*tag, "--precision", 90, "--dry-run"), "tags": [], "highest": 83}
    assert gaps(told).endswith("None reaches 90 %: the surest one has 83 %.")
    code, _, err = run(*tag, "--precision", 90, "--query", "x")
    assert code == 2 and "--review and --precision need --names" in err


def test_proposals_are_right_as_often_as_they_say(gallery: Gallery) -> None:
    """The shares, counted by hand: photos left out, taught without them, by how far the best name is above its mean."""
    adapter, contents = Adapter.of(gallery.backbone.shared, 0.8), gallery.contents
    wugs, daxes = of_kind(gallery, "wug")[:4], of_kind(gallery, "dax")[:4]
    names = TaughtNames(gallery.backbone).add("wug", contents.prefixes(wugs)).add("dax", contents.prefixes(daxes))
    found = proposals(contents, names, adapter, tagged=[*wugs, *daxes])
    assert [p.row for p in found] and not {p.row for p in found} & {*wugs, *daxes} and len(found) == len(gallery.photos) - 8
    assert [p.right for p in found] == sorted((p.right for p in found), reverse=True)
    own = {**dict.fromkeys(of_kind(gallery, "wug")[4:], "wug"), **dict.fromkeys(of_kind(gallery, "dax")[4:], "dax")}
    assert all(p.name == own[p.row] for p in found if p.row in own)
    assert proposals(contents, TaughtNames(gallery.backbone).add("wug", contents.prefixes(wugs[:1])), adapter) == []


def test_keywords_that_search_finds_untaught_compete_for_photos(backbone: EmbeddedBackbone, tmp_path: Path) -> None:
    """Living rooms are no wugs, though only wugs are taught. A keyword of photos of several kinds, or of all, says nothing."""
    living = [sample.path for sample in sample_photos() if sample.subject == "photos of living rooms and furniture"]
    gallery, adapter = Gallery(backbone), Adapter.of(backbone.shared, 0.8)
    gallery.add([*(drawn(tmp_path, "wug", number) for number in range(8)), *living, *blurred(tmp_path, ["a.jpg", "b.jpg"], 1)])
    photos, half, kept = gallery.contents, (len(living) + 1) // 2, [*range(4)]
    names = TaughtNames(backbone).add("wug", photos.prefixes(kept))
    rooms, others = [*range(8, 8 + half)], [*range(8 + half, 8 + len(living))]
    keywords = {"wug": kept, "living room": rooms, "indoors": [*kept, *rooms], "photo": [*range(len(photos))]}
    every = with_known(names, photos, keywords, adapter)
    assert [entry.name for entry in every.entries] == ["wug", "living room"]

    def best(names: TaughtNames) -> list[str]:
        by_row = {each.row: each.name for each in proposals(photos, names, adapter, tagged=[*kept, *rooms])}
        return [by_row[row] for row in others]

    assert best(names) == ["wug"] * len(others) and best(every) == ["living room"] * len(others)
