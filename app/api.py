"""The named endpoints: route, adapt, index, search, teach, import_adapter.

Each client (each ``session_hash``, or visitor of MCP) has its own gallery and experts. It uses the repository it named last.
"""

import functools
import inspect
from typing import Annotated, Any, get_args

import gradio as gr
from gradio.components import Component

from app.actions import adding, answering, own_experts, teaching
from app.actions.adapters import write_zip
from app.answers.question import Asked, Question, Scope, checked_day
from app.calls import HEAVY, LIGHT, SEARCH, endpoint
from app.languages import texts
from app.models.engines import Models
from app.server.mcp import sent_files
from app.visitors.registry import Visitors
from app.visitors.tab import Tab
from core.common.errors import DescriptionError, RepositoryError
from core.data.captions import parse_typed
from core.experts.adapter_files import WHOLE, adapter_part, fit_facts, listed_names, routed_experts
from core.names.teach import left_out
from core.sglora.engine import SGLora
from core.sglora.fit import Fit
from core.sglora.router import DEFAULT_K, DEFAULT_TAU, NO_EXPERTS

MAX_TOP = 100
# The component of a parameter, by its annotation.
COMPONENTS = {
    str: gr.Textbox,
    str | None: gr.Textbox,
    float: gr.Number,
    float | None: gr.Number,
    bool: gr.Checkbox,
}
Files = Annotated[list[str] | None, functools.partial(gr.File, file_count="multiple")]
Photo = Annotated[str | None, gr.File]
Needed = Annotated[str, lambda _, label: gr.Textbox(label=label)]  # clients must give it


def add_endpoints(models: Models, visitors: Visitors) -> None:
    """Declare the endpoints inside the current Blocks. They show nothing on the page."""

    def engine_of(tab: Tab, repository: str | None) -> SGLora:
        """The client's engine, with its own experts. Raises BackboneError: when the named repository does not exist."""
        visitor = tab.visitor
        if repository and repository != visitor.backbone:
            visitor.switch(repository, models.get(repository))
        return visitor.engine(models.get(visitor.backbone))

    def route(
        tab: Tab, description: str, k: float = DEFAULT_K, tau: float = DEFAULT_TAU, repository: str | None = None
    ) -> dict[str, Any]:
        """Route a task description to its closest experts, this client's own among them.

        ``repository``: which repository to use from now on, if the app offers several. This client's photos are indexed for it.
        Returns {"experts": [{"name", "description", "similarity", "weight"}, …], "fit"}, closest first; see ``adapt``.
        """
        engine = engine_of(tab, repository)
        wanted = answering.request(description, k, tau, 0, None)
        routing = engine.route(wanted.description, wanted.k, wanted.tau)
        return {"experts": routed_experts(engine, routing), "fit": fit_facts(Fit.of(engine, routing))}

    def adapt(
        tab: Tab,
        description: str,
        k: float = DEFAULT_K,
        tau: float = DEFAULT_TAU,
        seed: float = 0,
        strength: float | None = None,
        repository: str | None = None,
        part: str = WHOLE,
        weights: str = "",
    ) -> tuple[dict[str, Any], str]:
        """Generate a LoRA from a task description.

        ``strength``: how much of the LoRA to apply, from 0 (zero-shot) to 1 (as generated). Above 1 only if the backbone scales
        adapters. Empty: the default. ``part``: "whole", "expert" (without the shared LoRA: 143 kB, not 3.9 MB), or "shared".
        ``weights``: experts in the place of the closest ones, one “name=weight” a line. Returns {"experts", "fit", "seed", "k",
        "tau", "strength", "parameters", "rank", "seconds"} and a ZIP in PEFT format. "fit" is {"fits", "closeness",
        "forgetting" (points of R@1 of class names), "remark"}. If no expert fits, only the part that all share is applied.
        """
        engine = engine_of(tab, repository)
        wanted = answering.request(description, k, tau, seed, strength, weights)
        result = engine.adapt(wanted)
        lora, _ = adapter_part(engine, result, part or WHOLE)
        answer = {
            "experts": routed_experts(engine, result.routing),
            "fit": fit_facts(Fit.of(engine, result.routing)),
            "seed": result.request.seed,
            "k": len(result.routing.chosen),
            "tau": result.routing.tau,
            "strength": result.strength,
            "parameters": lora.parameters,
            "rank": lora.rank,
            "seconds": dict(result.seconds),
        }
        return answer, str(write_zip(engine, tab.visitor, result, part or WHOLE))

    def index(
        tab: Tab, files: Files = None, captions: str = "", repository: str | None = None, sent: str = ""
    ) -> dict[str, Any]:
        """Add photos (or ZIP or captions files) to this client's gallery.

        ``sent``: files as text, for MCP clients, one a line: data:image/jpeg;name=a.jpg;base64,… or a path from an upload.
        ``captions``: lines of “photo name: caption”. Returns {"added", "duplicates", "failed": [{"name", "reason"}],
        "photos", "captioned", "suggested": [a description that helps to search such photos, for ``adapt`` or
        ``search``] or []}.
        """
        engine = engine_of(tab, repository)
        typed = parse_typed(captions) if captions and captions.strip() else None
        added = adding.add_uploads(engine, tab, [*(files or []), *sent_files(sent)])
        visitors.make_room_on_disk(tab.visitor)
        gallery = tab.visitor.gallery(engine)
        if typed is not None:
            gallery.set_captions(typed)
        failed, look = [*(added.report.failed if added.report else ()), *added.failed], answering.look(engine, tab)
        return {
            "added": len(added.report.added) if added.report else 0,
            "duplicates": list(added.report.duplicates) if added.report else [],
            "failed": [{"name": name, "reason": texts.of(reason)} for name, reason in failed],
            "photos": len(gallery.photos),
            "captioned": sum(bool(p.captions) for p in gallery.photos),
            "suggested": [look.suggested.description] if look is not None and look.suggested else [],
        }

    def search(
        tab: Tab,
        query: str = "",
        description: str = "",
        k: float = DEFAULT_K,
        tau: float = DEFAULT_TAU,
        seed: float = 0,
        strength: float | None = None,
        top: float = 10,
        photo: Photo = None,
        repository: str | None = None,
        folder: str = "",
        since: str = "",
        until: str = "",
        weights: str = "",
    ) -> dict[str, Any]:
        """Search this client's gallery, with and without the adapter for the description.

        Give ``query`` (words) to find photos, or ``photo`` to find captions of the gallery; "name" is then a caption.
        ``strength``, ``weights``: as for ``adapt``, also for "merge". Only with ``query``: ``folder``: only photos of this
        folder of a ZIP; begin with the ZIP's name. ``since``, ``until``: only photos of these days, such as 2024-05-31. Returns
        {"zero_shot": [{"name", "score", "rank"}, …], "merge": […], "sg_lora": […]}, best first, and "strength" and "fit" as
        ``adapt``. Without a ``description``, or if no expert fits it: {"zero_shot", "shared"}; "shared" has the part that all
        adapters share, and names.
        """
        engine = engine_of(tab, repository)
        answering.number("top", top)
        if photo and query:
            raise DescriptionError(texts.API_ONE_QUESTION)
        if photo and (folder or since or until):
            raise DescriptionError(texts.API_NO_FILTERS)
        given = (k, tau, seed, strength, weights)
        wanted = answering.request(description, *given) if description and description.strip() else None
        if photo:
            question = Question.photo(None, photo)
        else:
            question = Question.words(query, Scope(folder=folder or "", since=checked_day(since), until=checked_day(until)))
        if wanted is not None and not len(engine.repository):
            raise RepositoryError(NO_EXPERTS)
        found = answering.compute(engine, tab, Asked(question, wanted, merge=True))
        columns, adaptation = () if found.comparison is None else found.comparison.columns, found.adaptation
        limit = max(1, min(MAX_TOP, int(top)))
        keys = ("zero_shot", "merge", "sg_lora") if adaptation is not None and adaptation.fits else ("zero_shot", "shared")
        answer: dict[str, Any] = {
            key: [{"name": h.label, "score": round(float(h.score), 6), "rank": h.rank} for h in c.ranking.hits[:limit]]
            for key, c in zip(keys, columns, strict=False)  # a backbone without a shared part has no second column
        }
        if adaptation is None:
            return answer
        return answer | {"strength": adaptation.strength, "fit": fit_facts(Fit.of(engine, adaptation.routing))}

    def teach(
        tab: Tab,
        name: str,
        files: Files = None,
        photos: str = "",
        take_back: bool = False,
        repository: str | None = None,
        sent: str = "",
    ) -> dict[str, Any]:
        """Teach this client's searches and adapters a name from a few photos.

        ``files``: photos, which are not added to the gallery. ``photos``: names of photos of the gallery, one a line. If the
        name exists, it gets these photos too. ``take_back`` removes it. Later ``search`` and ``adapt`` use the name.
        ``sent``: as for ``index``. Returns {"names": [{"name", "photos"}], "failed": [{"name", "reason"}], "remarks"}.
        """
        engine, failed, remarks = engine_of(tab, repository), (), list[texts.Text]()
        if take_back:
            names = tab.visitor.change_names(engine, lambda names: names.remove(name))
        else:
            chosen, files = adding.photos_called(engine, tab, photos or ""), [*(files or []), *sent_files(sent)]
            if files:
                names, failed = teaching.from_files(engine, tab, name, files)
            if chosen or not files:
                names = teaching.from_photos(engine, tab, name, chosen)
            remarks = left_out(name, max(len(files), len(chosen)))
        return {
            "names": listed_names(names),
            "failed": [{"name": file, "reason": texts.of(reason)} for file, reason in failed],
            "remarks": [texts.of(remark) for remark in remarks],
        }

    def import_adapter(tab: Tab, files: Files = None, description: Needed = "", sent: str = "") -> dict[str, Any]:
        """Add an adapter to this client's experts. Later sentences may be routed to it.

        ``files``: a ZIP as ``adapt`` returns it, or ``adapter_config.json`` and ``adapter_model.safetensors``.
        ``description``: what its photos show. ``sent``: as for ``index``. Returns {"name", "description", "lost", "experts"}:
        the share of its effect that is lost, 0 to 1, and how many experts there are now.
        """
        engine = engine_of(tab, None)
        entry = own_experts.import_files(engine, tab, [*(files or []), *sent_files(sent)], description)
        experts = len(engine_of(tab, None).repository)
        return {"name": entry.name, "description": entry.expert.description, "lost": entry.expert.lost, "experts": experts}

    @functools.cache
    def component(parameter: inspect.Parameter) -> Component:
        make = COMPONENTS.get(parameter.annotation) or get_args(parameter.annotation)[1]
        return make(None if parameter.default is parameter.empty else parameter.default, label=parameter.name)

    groups = {route: LIGHT, adapt: LIGHT, index: HEAVY, search: SEARCH, teach: HEAVY, import_adapter: LIGHT}
    with gr.Row(visible=False):  # ``gr.api`` needs no components, but it neither checks nor converts values
        button, answer, adapter = gr.Button(), gr.JSON(label="answer"), gr.File(label="adapter")
        for function, group in groups.items():
            inputs = [component(each) for each in inspect.signature(function).parameters.values() if each.name != "tab"]
            outputs, called = [answer, adapter] if function is adapt else answer, endpoint(visitors, function, group)
            button.click(called, inputs, outputs, api_name=function.__name__, concurrency_limit=None)
