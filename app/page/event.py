"""An event of the page: find the visitor's tab, run the handler, and draw what has changed."""

import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

import gradio as gr

from app.calls import SECONDS_SHOWN, TRAINING, TURNS, call
from app.languages import speaking, texts, wanted
from app.page.context import StepContext
from app.page.view import NOTHING, Controls, Event
from app.server.calls import number_of
from app.server.hosts import address_of, is_from_here
from app.visitors.tab import Tab
from core.common.errors import StudioError

CONTROLS = len(Controls._fields)
NOTICE_SECONDS = 60  # after a restart, a page may load twice: the notice comes again then


def event(
    context: StepContext,
    handler: Callable[..., Any],
    group: str,
    *,
    writes: str = "",
    asks: bool = False,
    waits: bool = False,
    opening: bool = False,
    hears: bool = False,
) -> Callable[..., Any]:
    """A handler as Gradio calls it. It gets the ``Event`` and the values of its own inputs, changes the tab, and returns values
    of controls, by name, and of boxes. Then the page is drawn again.

    ``group``: as in ``app.calls``. ``writes``: as for ``Step.on``. ``asks``: it asks a question; an older one does not replace
    a newer one. ``waits``: it takes long, so the tab's other events do not wait for it. ``opening``: the page sends it by
    itself. ``hears``: the names that the browser keeps are its first value: it may be the first event after a restart.
    """

    def called(request: gr.Request, data: gr.EventData, *values: Any) -> Any:
        sent = isinstance(data, gr.EventData)  # else Gradio leaves it out
        *first, memory, since = (values if sent else (data, *values))[:-CONTROLS]
        with speaking(wanted(request.headers.get("accept-language") or "")):
            token, had = memory_of(memory)
            tab, new = tab_of(context, request, token, had)
            visitor, number = tab.visitor, number_of(request.headers)
            since, target = since if isinstance(since, int) else 0, data.target if sent else None
            now = Controls(*values[-CONTROLS:])
            # What the visitor wrote counts, also if an answer on its way sets something else. An empty box waits for a button.
            name = writes or context.written_for(target)
            changed = [name] if name and (getattr(now, name) or not isinstance(target, gr.Button)) else []
            tab.drawn.write({name: getattr(now, name) for name in changed}, number)
            told = data._data if sent and isinstance(data._data, dict) else {}

            def handled() -> Any:
                controls, again = tab.drawn.hear(now, since, number, changed)
                if asks and number < tab.drawn.asked:
                    return {}
                tab.drawn.asked = number if asks else tab.drawn.asked
                if hears:
                    visitor.hear_names(first.pop(0))
                found = handler(Event(tab, controls, context.models, told, request, had, since), *first)
                # What the browser has is not set again: the visitor may be typing meanwhile, above all while the page opens.
                known = controls._asdict().items()
                found = again | {
                    name: value for name, value in (found or {}).items() if name in again or (name, value) not in known
                }
                tab.drawn.set({name: value for name, value in found.items() if isinstance(name, str)}, number)
                return found

            found = call(tab, update_wrapper(handled, handler), in_turn=not waits)
            if new and since:  # the server forgot this tab: the browser asks for everything, and sends its names
                updates = context.by_component(found) | {context.drawn: NOTHING}
            else:
                idle = context.running[request.session_hash or ""] == 1  # this one
                lost = told.get("since")  # the page misses an answer after this one
                updates = call(tab, context.redraw, tab, found, number, idle, lost, in_turn=True)
            context.visitors.settle(visitor)
            # The notice comes again for a while, unless the visitor does something.
            keeps = had and (new or opening)
            if new or (visitor.has_unkept != had and not keeps):  # the browser remembers it, as ``memory_of`` reads it
                told = {"told": time.time()} if keeps and not visitor.has_unkept else {}
                updates = updates | {context.memory: {"token": visitor.token, "has": visitor.has_unkept or keeps, **told}}
            return updates or gr.skip()  # Gradio takes an empty dictionary for a value

    async def in_turn(request: gr.Request, data: gr.EventData, *values: Any) -> Any:
        session, (memory, *_) = request.session_hash or "", (data, *values)[-CONTROLS - 2 :]
        tab = context.visitors.find_tab(session)
        owner = memory_of(memory)[0] or (session if tab is None else tab.visitor.token)
        context.running[session] += 1
        try:
            with speaking(wanted(request.headers.get("accept-language") or "")):
                owner, show = owner if group == TRAINING else "", partial(gr.Progress(), 0, desc=texts.WAITS)
                due = partial(called, request, data, *values)
                return await TURNS[group].run(address_of(request), due, owner, show)
        except StudioError as error:
            gr.Warning(texts.of(error), duration=SECONDS_SHOWN)
            return gr.skip()
        finally:
            context.running -= Counter([session])  # drops tabs without events

    in_turn.__name__, in_turn.__qualname__ = handler.__name__, handler.__qualname__
    return in_turn


def tab_of(context: StepContext, request: gr.Request, token: str, had: bool) -> tuple[Tab, bool]:
    """The visitor's tab, and whether it is a new one. Shows a notice if the visitor's data was deleted."""
    visitors = context.visitors
    tab, new = visitors.tab(request.session_hash or "", token, address_of(request))
    tab.here = request.client is not None and is_from_here(request.client.host, request.headers)
    if new and had and not tab.visitor.has_unkept:
        gr.Warning(texts.FORGOTTEN.format(minutes=f"{visitors.limits.keep_seconds / 60:g}"), duration=SECONDS_SHOWN)
    return tab, new


def memory_of(memory: object) -> tuple[str, bool]:
    """The token that the browser remembers, and whether the visitor had anything to lose, and was not told long ago."""
    memory = memory if isinstance(memory, dict) else {}
    token, told = memory.get("token"), memory.get("told", math.inf)
    news = isinstance(told, int | float) and time.time() - told < NOTICE_SECONDS
    return token if isinstance(token, str) and len(token) <= 64 else "", memory.get("has") is True and news
