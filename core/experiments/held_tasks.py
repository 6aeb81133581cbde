"""Tasks to measure on: everyday scenes by the words of their captions, and parts of special domains' classes.

No training knows this list. A photo belongs to a scene when two of its captions name it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.training.corpus import OBJECTS, Corpus, draw
from core.training.label_styles import style_of

FEWEST = 50  # photos of a scene that are no test photos; and MEASURED to measure on
MEASURED = 5
NAMED_BY = 2
PARTS = {"aerial": 3, "clothing": 2, "flowers": 3, "food": 4, "grocery": 3, "scene": 3, "sports": 3, "texture": 2}

# name -> (description, words that name it in a caption): written by hand, for measuring alone; training finds its own topics.
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
    "music": ("a photo of musicians playing", "guitar band music musician musicians singing singer microphone drums"),
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


# The same for special domains with captions: name -> (domain, description, words).
DOMAIN_SCENES: Mapping[str, tuple[str, str, str]] = {
    "aerial traffic": ("aerial", "aerial photos of airports and stations", "airport airports railway station plane planes"),
    "aerial sea": ("aerial", "aerial photos of beaches and ports", "beach sea ocean port harbor boats ships waves"),
    "aerial water": ("aerial", "aerial photos of rivers and ponds", "river pond lake bridge"),
    "aerial homes": ("aerial", "aerial photos of houses and residential areas", "residential houses villas residence"),
    "aerial fields": ("aerial", "aerial photos of farmland and meadows", "farmland farmlands meadow meadows field fields"),
    "aerial wild": ("aerial", "aerial photos of deserts, mountains and forests", "desert mountain mountains forest bareland"),
    "aerial sport": ("aerial", "aerial photos of stadiums and playgrounds", "stadium playground baseball football"),
    "aerial work": ("aerial", "aerial photos of factories and storage tanks", "industrial factory storage tanks commercial"),
    "shoes": ("clothing", "product photos of shoes", "shoe shoes sandals flats heels sneakers floaters"),
    "bags": ("clothing", "product photos of bags", "handbag handbags bag backpack purse wallet clutch"),
    "jewellery": (
        "clothing",
        "product photos of watches and jewellery",
        "watch watches earrings ring bracelet necklace pendant",
    ),
    "tops": ("clothing", "product photos of shirts", "shirt t-shirt tshirt top kurta polo"),
    "trousers": ("clothing", "product photos of trousers and skirts", "jeans trousers shorts skirt pants leggings"),
    "fruit": ("food", "photos of fruit", "fruit fruits berries strawberries orange apple lemon"),
    "vegetables": ("food", "photos of vegetables and salads", "vegetable vegetables salad tomato tomatoes"),
    "sweets": ("food", "photos of cakes and desserts", "cake cakes dessert chocolate cookies pancakes ice"),
}


@dataclass(frozen=True)
class HeldTask:
    """A task to measure on.

    Attributes:
        name, description: the sentence that it is adapted to. group: "scenes" or the special domain.
        rows: all its photos in the corpus. test: those of them to measure on.
    """

    name: str
    description: str
    group: str
    rows: np.ndarray
    test: np.ndarray


def named_rows(captions: Mapping[int, tuple[str, ...]], named: Mapping[str, str]) -> dict[str, np.ndarray]:
    """For each name, the rows of which NAMED_BY captions (all, where there are fewer) have one of its words.

    Args:
        captions: by row. named: words by name.
    """
    spoken = {row: [set(re.findall(r"[a-z-]+", c.lower())) for c in own] for row, own in captions.items()}

    def rows(wanted: set[str]) -> list[int]:
        return [row for row, own in spoken.items() if sum(bool(wanted & w) for w in own) >= min(NAMED_BY, len(own))]

    return {name: np.array(rows(set(listed.split())), dtype=np.int64) for name, listed in named.items()}


def scene_rows(captions: Mapping[int, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """For each of SCENES, the rows whose captions name it."""
    return named_rows(captions, {name: listed for name, (_, listed) in SCENES.items()})


def captioned_domain_tasks(corpus: Corpus, known: bool = False) -> list[HeldTask]:
    """DOMAIN_SCENES that enough photos show, measured on all of them, or on those that trained nothing (``known``)."""
    tasks = []
    for name, (domain, description, listed) in DOMAIN_SCENES.items():
        own = np.flatnonzero(corpus.captioned & (corpus.domains == domain))
        rows = named_rows({int(r): corpus.samples[r].captions for r in own}, {name: listed})[name]
        test = rows[corpus.test[rows]] if known else rows
        if len(rows) >= FEWEST and len(test) >= MEASURED:
            tasks.append(HeldTask(name, description, domain, rows, test))
    return tasks


def scene_tasks(corpus: Corpus) -> list[HeldTask]:
    """The scenes that enough photos show, or COCO's categories where photos have some (paper); those of the test part
    measure."""
    captions = {int(r): corpus.samples[r].captions for r in np.flatnonzero(corpus.scenes)}
    categories: dict[str, list[int]] = {}
    for row in captions:
        for category in corpus.samples[row].categories:
            categories.setdefault(category, []).append(row)
    found = {name: np.array(rows) for name, rows in sorted(categories.items())} or scene_rows(captions)
    tasks = []
    for name, rows in found.items():
        test = rows[corpus.test[rows]]
        if len(rows) - len(test) >= FEWEST and len(test) >= MEASURED:
            tasks.append(HeldTask(name, SCENES[name][0] if not categories else f"a photo of a {name}", "scenes", rows, test))
    return tasks


def domain_tasks(corpus: Corpus, whole: bool = False) -> list[HeldTask]:
    """Parts of the classes of each special domain, described by some of their names.

    Args:
        whole: one task a domain, with its phrase alone; measured on the photos that trained nothing.
    """
    tasks = []
    for domain, classes in sorted(corpus.classes.items()):
        if domain == OBJECTS:
            continue
        names = sorted(classes, key=lambda label: draw(f"{domain} {label}"))
        parts = 1 if whole else max(1, min(PARTS.get(domain, 1), len(names) // 3))
        for part in range(parts):
            own = sorted(names[part::parts])
            rows = np.concatenate([classes[label] for label in own])
            description = style_of(domain).phrase if whole else style_of(domain).of(own[:6])
            name = f"{domain}-{part + 1}" if parts > 1 else domain
            test = rows[corpus.test[rows]] if whole else rows
            tasks.append(HeldTask(name, description, domain, rows, test))
    return tasks
