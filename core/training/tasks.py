"""Tasks: what experts are trained on. Scenes are found in captions, special domains are groups of classes (DESIGN 4)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.data import Sample
from core.training.draws import draw as _draw

MIN_TRAIN = 40
MIN_CAPTIONS = 2  # a photo belongs to a task when at least two of its captions name it

# name -> (description, words that name it in a caption)
SCENES: Mapping[str, tuple[str, str]] = {
    "dog": ("a photo of a dog", "dog dogs puppy puppies"),
    "snow": ("a photo of people in the snow", "snow snowy"),
    "beach": ("a photo of people on the beach", "beach shore seashore"),
    "bicycle": ("a photo of a person riding a bicycle", "bike bikes bicycle bicycles bicyclist biker bikers cyclist cyclists"),
    "soccer": ("a photo of people playing soccer", "soccer"),
    "football": ("a photo of an American football game", "football"),
    "baseball": ("a photo of a baseball player", "baseball batter pitcher"),
    "basketball": ("a photo of people playing basketball", "basketball basketballs"),
    "tennis": ("a photo of a tennis player", "tennis racket racquet"),
    "hockey": ("a photo of hockey players", "hockey"),
    "climbing": ("a photo of a person rock climbing", "climbing climber climbs climb climbers"),
    "boat": ("a photo of a boat", "boat boats canoe raft rafting sailboat kayak kayaker"),
    "baby": ("a photo of a baby", "baby toddler infant"),
    "street": ("a photo of people on a city street", "street sidewalk road city downtown"),
    "horse": ("a photo of a horse", "horse horses cowboy rodeo"),
    "pool": ("a photo of children in a swimming pool", "pool"),
    "swimming": ("a photo of a person swimming", "swimming swims swimmer swim underwater"),
    "skateboard": ("a photo of a skateboarder", "skateboard skateboarder skateboarding skateboards skateboarders"),
    "motorcycle": ("a photo of a motorcycle", "motorcycle motorbike motorcyclist motorcycles motocross atv"),
    "car": ("a photo of a car", "car cars truck vehicle van taxi"),
    "playground": ("a photo of children on a playground", "playground slide slides jungle"),
    "swing": ("a photo of a child on a swing", "swing swings swinging"),
    "trampoline": ("a photo of a child bouncing in an inflatable castle", "trampoline inflatable bouncy bounce bouncing"),
    "fountain": ("a photo of children playing in a fountain", "fountain fountains sprinkler splashing"),
    "music": (
        "a photo of musicians playing",
        "guitar band music musician musicians singing singer microphone drums",
    ),
    "crowd": ("a photo of a crowd of people", "crowd crowded parade audience"),
    "food": ("a photo of people eating food", "food eating eat eats meal restaurant cake ice-cream dinner"),
    "surfing": ("a photo of a surfer riding a wave", "surfer surfing surfboard surfers wave waves wetsuit"),
    "mountain": ("a photo of a hiker in the mountains", "mountain mountains hiker hiking cliff"),
    "ski": ("a photo of a person skiing", "skier skiing skis ski skiers"),
    "snowboard": ("a photo of a snowboarder", "snowboarder snowboard snowboarding snowboards"),
    "race": ("a photo of a race", "race racing racer racetrack racers"),
    "river": ("a photo of a river or lake", "river lake stream creek pond waterfall rapids"),
    "forest": ("a photo of a person in the woods", "forest woods trees wooded"),
    "ball": ("a photo of a child playing with a ball", "ball balls"),
    "frisbee": ("a photo of a frisbee", "frisbee frisbees"),
    "jump": ("a photo of a person jumping in the air", "jumping jumps jump leaps leaping midair"),
    "dance": ("a photo of people dancing", "dancing dancer dancers dance dances cheerleader"),
    "costume": ("a photo of people in costumes", "costume costumes dressed mask masks"),
    "camera": ("a photo of a person taking a picture", "camera cameras photographer photograph"),
    "sitting": ("a photo of a person sitting on a bench", "bench benches sits sit"),
    "wall": ("a photo of a person by a wall with graffiti", "wall graffiti brick mural"),
    "bird": ("a photo of a bird", "bird birds duck ducks pigeons seagull seagulls"),
    "sunset": ("a photo of a sunset", "sunset silhouette silhouetted silhouettes sunrise sun"),
    "grass": ("a photo of children in the grass", "grass grassy lawn field"),
    "table": ("a photo of people at a table", "table tables desk counter kitchen"),
    "portrait": ("a portrait of a person smiling", "smiling smiles smile face glasses sunglasses posing poses"),
    "bedroom": ("a photo of a child at home", "bed couch sofa room carpet"),
    "shopping": ("a photo of people at a market", "store shop shopping market cart vendor stand"),
    "fight": ("a photo of people doing martial arts", "fighting wrestling boxing karate martial boxers wrestlers"),
    "running": ("a photo of a runner", "runner runners marathon jogging jogger hurdle hurdles sprinting"),
    "rope": ("a photo of a person hanging from a rope", "rope ropes harness zip hanging"),
    "train": ("a photo of a train or subway", "train subway trains railroad tracks"),
    "work": ("a photo of a person at work", "worker workers construction uniform working hard"),
}


# The task that every captioned photo belongs to: how captions talk, whatever they talk about.
EVERYDAY = "everyday"
EVERYDAY_DESCRIPTION = "everyday photos of people and animals"


@dataclass(frozen=True)
class Domain:
    """How one special domain speaks: its description prefix, caption templates (the first one is for measuring), parts."""

    phrase: str
    templates: tuple[str, ...]
    parts: int


DOMAINS: Mapping[str, Domain] = {
    "aerial": Domain(
        "aerial photos", ("an aerial photo of a {}", "a photo of a {}", "a satellite image of a {}", "{} seen from above"), 3
    ),
    "cartoon": Domain("cartoons", ("a cartoon of a {}", "a photo of a {}", "a drawing of a {}", "a comic {}"), 1),
    "clothing": Domain("product photos of clothes", ("a photo of a {}", "a {} for sale", "a person wearing a {}", "{}"), 2),
    "flowers": Domain("photos of flowers", ("a photo of a {}", "a {}, a type of flower", "a close-up of a {} flower"), 3),
    "food": Domain("photos of dishes", ("a photo of {}", "a photo of a {}", "a plate of {}", "{}, a dish"), 4),
    "grocery": Domain("photos of groceries", ("a photo of a {}", "{} in a grocery store", "a package of {}", "{}"), 3),
    "medical": Domain("medical images, radiographs", ("a {}", "a photo of a {}", "a radiograph: {}"), 1),
    "painting": Domain("paintings", ("a painting of a {}", "a photo of a {}", "an oil painting with a {}", "art of a {}"), 1),
    "rooms": Domain("photos of rooms", ("a photo of a {}", "the {} of a house", "a {} for rent"), 1),
    "scene": Domain("photos of places", ("a photo of a {}", "a black and white photo of a {}", "a view of a {}", "{}"), 3),
    "sketch": Domain("pencil sketches", ("a sketch of a {}", "a photo of a {}", "a drawing of a {}", "a doodle of a {}"), 1),
    "sports": Domain("photos of sports", ("a photo of {}", "a photo of a {}", "people doing {}", "a {} match"), 3),
    "texture": Domain("close-ups of textures", ("a {} texture", "a photo of a {}", "a {} surface", "a {} pattern"), 2),
}


def style_of(domain: str) -> Domain:
    """How a domain speaks; one that DOMAINS does not know speaks plainly."""
    plain = ("a photo of a {}", "a close-up of a {}", "a picture of a {}", "{}")
    return DOMAINS.get(domain) or Domain(f"photos of {domain}" if domain else "photos", plain, 1)


@dataclass(frozen=True)
class Task:
    """One task, as row numbers into the samples it was found in.

    Attributes:
        train, stop, test: rows to train on, to stop on, and to measure on; no photo is in two of them.
        classes: training classes of a label task; ``stop`` and ``test`` also hold photos of classes that are not among
            them, so that an expert that only memorises its classes is stopped early.
    """

    name: str
    description: str
    group: str
    source: str
    train: np.ndarray
    stop: np.ndarray
    test: np.ndarray
    classes: tuple[str, ...] = ()


def captioned_parts(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Captioned photos to train on, to stop on and to measure on, three times [n] bool.

    With splits "val" and "test", as Karpathy has them, val stops and test measures; with only one of the two, it measures
    and 15 % of the rest stop; without either, a fifth measures.
    """
    draws = np.array([_draw(s.path.name) for s in samples])
    val, test = (np.array([s.split == split for s in samples]) for split in ("val", "test"))
    if val.any() and test.any():
        return ~val & ~test, val, test
    test = val | test if val.any() or test.any() else draws < 0.2
    stop = ~test & (draws > 0.85)
    return ~test & ~stop, stop, test


def scene_members(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """For each of SCENES, which photos at least MIN_CAPTIONS captions name it of, [n] bool."""
    words = [[set(re.findall(r"[a-z-]+", c.lower())) for c in s.captions] for s in samples]
    found = {}
    for name, (_, listed) in SCENES.items():
        named = set(listed.split())
        found[name] = np.array([sum(bool(named & w) for w in own) >= MIN_CAPTIONS for own in words], dtype=bool)
    return found


def caption_tasks(samples: Sequence[Sample], source: str, min_train: int = MIN_TRAIN) -> list[Task]:
    """Tasks of captioned photos: those of SCENES that enough training photos belong to, and EVERYDAY for all of them.

    ``captioned_parts`` says which photos train, stop and measure.
    """
    parts = captioned_parts(samples)
    tasks = []
    for name, member in scene_members(samples).items():
        rows = [np.flatnonzero(member & part) for part in parts]
        if len(rows[0]) >= min_train and len(rows[1]) >= 5 and len(rows[2]) >= 5:
            tasks.append(Task(name, SCENES[name][0], "scenes", source, *rows))
    if tasks:
        tasks.append(Task(EVERYDAY, EVERYDAY_DESCRIPTION, "scenes", source, *map(np.flatnonzero, parts)))
    return tasks


def label_tasks(samples: Sequence[Sample], held_share: float = 0.25) -> list[Task]:
    """Tasks of labelled photos of special domains: each domain's classes are dealt into up to
    ``Domain.parts`` tasks.

    In every task a share of the classes trains nothing: half of those photos stop the training, half measure.
    """
    by_domain: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, s in enumerate(samples):
        if s.domain in DOMAINS:
            by_domain[s.domain][s.label].append(row)
    tasks = []
    for domain, classes in sorted(by_domain.items()):
        style = DOMAINS[domain]
        names = sorted(classes, key=lambda c: _draw(f"{domain} {c}"))
        # A part needs a class to hold back and two to tell apart, whatever the folder has of the domain.
        parts = max(1, min(style.parts, len(names) // 3))
        if len(names) < 2:
            continue
        for part in range(parts):
            own = sorted(names[part::parts])
            held = set(sorted(own, key=lambda c: _draw(f"held {c}"))[: max(1, round(held_share * len(own)))])
            split: dict[str, list[int]] = {"train": [], "stop": [], "test": []}
            for label in own:
                for row in classes[label]:
                    draw = _draw(str(samples[row].path.name))
                    if label in held:
                        split["stop" if draw < 0.5 else "test"].append(row)
                    else:
                        split["train" if draw < 0.6 else "stop" if draw < 0.75 else "test"].append(row)
            trained = tuple(c for c in own if c not in held)
            shown = ", ".join(trained[:6])
            tasks.append(
                Task(
                    f"{domain}-{part + 1}" if parts > 1 else domain,
                    f"{style.phrase}: {shown}",
                    domain,
                    samples[classes[own[0]][0]].dataset,
                    *(np.array(split[k]) for k in ("train", "stop", "test")),
                    classes=trained,
                )
            )
    return tasks


def label_texts(sample: Sample) -> tuple[str, ...]:
    """Caption texts of a labelled photo; the first one is for measuring."""
    return tuple(t.format(sample.label) for t in style_of(sample.domain).templates)


def wordings(task: Task) -> tuple[str, ...]:
    """Ways to say what a task is about; the first one is its description."""
    if task.name == EVERYDAY:
        return (
            task.description,
            "photos of people",
            "snapshots of daily life",
            "photos taken outdoors",
            "photos of men and women",
        )
    if task.group == "scenes":
        subject = re.sub(r"^(a photo of|a portrait of) ", "", task.description)
        return (task.description, f"photos of {subject}", subject, task.name, f"pictures with {task.name}")
    style = style_of(task.group)
    some = task.classes[:2]
    said = tuple(style.templates[0].format(c) for c in some)
    return (task.description, style.phrase, f"{style.phrase} of {' and '.join(some)}", *said)
