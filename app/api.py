"""The named endpoints: route, adapt, index, search. Each client of gradio_client has a gallery of its own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import actions
from app.errors import answering
from app.models import Models
from app.session import Session
from core.captions import parse_typed
from core.router import DEFAULT_K, DEFAULT_TAU
from core.sglora import DEFAULT_STRENGTH

# Concurrency groups: sentences, questions to photos, and new photos. A question does not wait behind somebody's upload.
LIGHT, SEARCH, HEAVY = "light", "search", "photos"
SEARCHES = 2  # at once
MAX_TOP = 100


def add_endpoints(models: Models, session: gr.State) -> None:
    """Declare the endpoints inside the current Blocks; they show nothing on the page."""

    @answering
    def route(description: str, k: float, tau: float) -> dict[str, Any]:
        """Route a task description to its closest experts.

        Returns {"experts": [{"name", "description", "similarity", "weight"}, …]}, closest first.
        """
        engine = models.get()
        wanted = actions.settings(description, k, tau, 0, DEFAULT_STRENGTH)
        return {"experts": engine.routed(engine.route(wanted.description, wanted.k, wanted.tau))}

    @answering
    def adapt(description: str, k: float, tau: float, seed: float, strength: float, session: Session) -> tuple[Any, ...]:
        """Generate a LoRA from a task description.

        Returns {"experts", "seed", "k", "tau", "strength", "parameters", "seconds"} and a ZIP in PEFT format.
        """
        engine = models.get()
        wanted = actions.settings(description, k, tau, seed, strength)
        result = actions.generate(engine, session, wanted)
        answer = {
            "experts": engine.routed(result.routing),
            "seed": result.seed,
            "k": len(result.routing.chosen),
            "tau": result.routing.tau,
            "strength": result.strength,
            "parameters": result.lora.parameters,
            "seconds": dict(result.seconds),
        }
        return answer, str(actions.write_zip(engine, session, result).path), session

    @answering
    def index(files: list[str] | None, captions: str, session: Session) -> tuple[Any, ...]:
        """Add photos (or ZIP or captions files) to this client's gallery.

        ``captions``: lines of “photo name: caption”. Returns {"added", "duplicates", "failed": [{"name", "reason"}],
        "photos", "captioned"}.
        """
        engine = models.get()
        typed = parse_typed(captions) if captions.strip() else None
        done = actions.add_uploads(engine, session, files or [])
        gallery = session.album.gallery(engine)
        if typed is not None:
            gallery.set_captions(typed)
        failed = [*(done.report.failed if done.report else ()), *done.failed]
        answer = {
            "added": len(done.report.added) if done.report else 0,
            "duplicates": list(done.report.duplicates) if done.report else [],
            "failed": [{"name": name, "reason": reason} for name, reason in failed],
            "photos": len(gallery.photos),
            "captioned": sum(bool(p.captions) for p in gallery.photos),
        }
        return answer, session

    @answering
    def search(
        query: str, description: str, k: float, tau: float, seed: float, strength: float, top: float, session: Session
    ) -> tuple[Any, ...]:
        """Search this client's gallery with words, with and without the adapter that the description gives.

        Returns {"zero_shot": [{"name", "score", "rank"}, …], "merge": […], "sg_lora": […]}, best first.
        """
        engine = models.get()
        actions.generate(engine, session, actions.settings(description, k, tau, seed, strength))
        columns = actions.compare_words(engine, session, query).columns
        shown = max(1, min(MAX_TOP, int(top or 1)))
        answer = {
            key: [{"name": h.label, "score": round(float(h.score), 6), "rank": h.rank} for h in c.ranking.hits[:shown]]
            for key, c in zip(("zero_shot", "merge", "sg_lora"), columns, strict=True)
        }
        return answer, session

    with gr.Row(visible=False):
        description = gr.Textbox(label="description")
        query = gr.Textbox(label="query")
        captions = gr.Textbox(label="captions", value="")
        k = gr.Number(label="k", value=DEFAULT_K)
        tau = gr.Number(label="tau", value=DEFAULT_TAU)
        seed = gr.Number(label="seed", value=0)
        strength = gr.Number(label="strength", value=DEFAULT_STRENGTH)
        top = gr.Number(label="top", value=10)
        files = gr.File(label="files", file_count="multiple")
        answer, adapter = gr.JSON(label="answer"), gr.File(label="adapter")
        button = gr.Button()
    made = [k, tau, seed, strength]
    for endpoint, inputs, outputs, group, limit in (
        (route, [description, k, tau], [answer], LIGHT, 2),
        (adapt, [description, *made, session], [answer, adapter, session], LIGHT, 2),
        (index, [files, captions, session], [answer, session], HEAVY, 1),
        (search, [query, description, *made, top, session], [answer, session], SEARCH, SEARCHES),
    ):
        button.click(
            endpoint, inputs, outputs, api_name=endpoint.__name__, concurrency_id=group, concurrency_limit=limit, queue=True
        )
