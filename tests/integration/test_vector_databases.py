"""Runs docs/vector-databases.md as printed on a new server, and compares the results with FAISS."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from app_process import free_port
from command_line import Run
from made_up_photos import blurred

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.peft_format import load_peft
from core.common.paths import ROOT
from core.experts.adapter_files import weight_of
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.questions import Query
from core.retrieval.search import search

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "vector-databases.md").read_text()
PHOTOS = 40


def commands() -> list[tuple[str, str]]:
    """("python" or "bash", code) for each code block of the page, in order."""
    blocks = re.findall(r"```python\n(.*?)```|((?:^    \S[^\n]*\n)+)", PAGE, re.DOTALL | re.MULTILINE)
    return [
        ("python", python) if python else ("bash", re.sub("^    ", "", shell, flags=re.MULTILINE)) for python, shell in blocks
    ]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a new PostgreSQL with pgvector, on loopback."""
    pytest.importorskip("psycopg")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    versions = [p for p in versions if Path(f"/usr/share/postgresql/{p.parts[-3]}/extension/vector.control").is_file()]
    if not versions:
        pytest.skip("PostgreSQL with pgvector is not installed (Debian: apt install postgresql-17-pgvector)")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user is not None:
        shutil.chown(folder, user)
    port = free_port()
    where = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([versions[-1], "-D", folder / "data", "-A", "trust", "-U", "postgres"], check=True, **where)
    server = subprocess.Popen(
        [versions[-1].with_name("postgres"), "-D", folder / "data", "-p", str(port), "-k", folder, "-h", "127.0.0.1"], **where
    )
    try:
        address = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        import psycopg

        for _ in range(300):
            try:
                psycopg.connect(address).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def test_the_page_answers_as_faiss_does(
    database: str, backbone: EmbeddedBackbone, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blurred(tmp_path / "photos", [f"{i}.jpg" for i in range(PHOTOS)], 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE", database)

    def printed(kind: str, code: str) -> str:
        """Python runs in this process. In a new process for each block, imports would take most of the time."""
        if kind == "python":
            exec(code, {})
        elif code.startswith("python -m core"):
            for line in code.splitlines():
                command, _, file = line.removeprefix("python -m core ").partition(" > ")
                status, out, err = run(*shlex.split(command))
                assert status == 0, (line, err)
                if file:
                    Path(file).write_text(out)
        else:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True)
            assert done.returncode == 0, f"{code}\n{done.stderr}"
            return done.stdout
        return ""

    *others, query = commands()
    for command in others:
        printed(*command)
    photos = LibraryPhotos(PhotoLibrary.open(tmp_path / "pictures.library"), backbone)
    assert len(photos) == PHOTOS
    answers, asked = {}, Query(("a dog in the snow",)).question(backbone)
    lora, origin = load_peft(tmp_path / "dogs", backbone.linears.values(), backbone.fingerprint)
    for name, adapter in (("zero-shot", ZERO_SHOT), ("adapted", Adapter.of(lora, weight_of(origin)))):
        question = (tmp_path / f"{name}.vector").read_text()
        vector = torch.tensor(json.loads(question))
        expected = [photos.key(place) for place, _ in photos.index.search(vector)[:10]]
        assert [photos.key(place) for place, _ in search(photos, asked, adapter)] == expected
        answers[name] = printed("bash", query[1].replace("adapted.vector", f"{name}.vector")).split()
        assert answers[name] == expected
    assert answers["zero-shot"] != answers["adapted"]
