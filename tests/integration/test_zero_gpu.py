"""A Space on ZeroGPU. A stand-in for its package ``spaces`` runs functions in a forked process, as ZeroGPU does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = """
import multiprocessing, os, pickle
import gradio

def GPU(function):
    fork, refused = multiprocessing.get_context("fork"), []
    def scheduled(*args):
        if GPU.quota == 0:
            raise gradio.Error("You have exceeded your GPU quota.")
        GPU.quota -= 1
        arguments, results = pickle.dumps(args), fork.SimpleQueue()
        work = lambda: results.put(pickle.dumps((os.getpid(), function(*pickle.loads(arguments)))))
        process = fork.Process(target=work)
        process.start()
        GPU.process, found = pickle.loads(results.get())
        process.join()
        return found
    return scheduled

GPU.quota, GPU.process = 3, None
"""

CODE = """
import os
import torch
from tiny_models import noise, random_lora, tiny_backbone
from app.models.zero_gpu import GPU, with_gpu
from core.backbones import load_backbone

plain = tiny_backbone()
visiting = with_gpu(with_gpu(plain))  # as where two repositories share a backbone
pixels, lora = noise(3, 3, 48, 48), random_lora(plain.layout, 1)
prefix = visiting.prefix(pixels)
assert torch.equal(prefix, plain.prefix(pixels))
assert GPU.process not in (None, os.getpid())
torch.testing.assert_close(visiting.suffix(prefix), plain.suffix(prefix))
torch.testing.assert_close(visiting.suffix(prefix, lora), plain.suffix(prefix, lora))
assert GPU.quota == 0
torch.testing.assert_close(visiting.suffix(prefix, lora), plain.suffix(prefix, lora))  # refused
torch.testing.assert_close(visiting.encode_text(["a dog"]), plain.encode_text(["a dog"]))
assert visiting.layout == plain.layout and plain.layout.moves_photos
assert plain.device.type == visiting.device.type == "cpu"
embedded = load_backbone()
assert with_gpu(embedded) is embedded
"""


@pytest.mark.slow
def test_both_halves_of_a_tower_visit_the_gpu(tmp_path) -> None:
    (tmp_path / "spaces.py").write_text(STAND_IN)
    path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "tests" / "helpers")])
    # One thread: OpenMP's thread pool does not survive a fork, neither on ZeroGPU nor here.
    environment = {**os.environ, "PYTHONPATH": path, "SPACES_ZERO_GPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "exceeded your GPU quota" in done.stderr
