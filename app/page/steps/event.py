"""Wrap the page's handlers for Gradio: find the visitor's tab, set the language, and keep the limits."""

from __future__ import annotations

import functools
import inspect
import secrets
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import gradio as gr

from app.languages import speaking, texts, wanted
from app.page.steps.context import Controls, StepContext
from app.server.errors import friendly
from app.server.hosts import address_of, is_from_here
from app.visitors.tab import Tab

MESSAGE_SECONDS = 15


def event(
    context: StepContext, handler: Callable[..., Any], outputs: Sequence[Any], in_turn: bool, opening: bool
) -> Callable[..., Any]:
    """Wrap a handler, which takes a ``tab`` among its parameters and the controls last.

    Gradio passes the browser's memory instead of the tab, and a value for each control. ``in_turn``: a tab's events run one
    after the other, so that an earlier answer is not shown last. ``opening``: the page sends the event when it loads.

    """
    *others, _ = inspect.signature(handler).parameters.values()
    row = [parameter.name for parameter in others].index("tab")

    @functools.wraps(handler)
    def wrapped(_request: gr.Request, *args: Any) -> Any:
        given, controls = list(args[: -len(Controls._fields)]), Controls(*args[-len(Controls._fields) :])
        with speaking(wanted(_request.headers.get("accept-language") or "")):
            tab, new = tab_of(context, _request, given[row])
            visitor, had = tab.visitor, memory_of(given[row])[1]
            given[row] = tab
            with visitor.in_use(), tab.turn if in_turn else nullcontext():
                answer = friendly(handler)(*given, controls)
            context.visitors.settle(visitor)
            updates = {} if answer == gr.skip() else answer
            if not isinstance(updates, dict):
                updates = dict(zip(outputs, [answer] if len(outputs) == 1 else answer, strict=True))
            if new:
                tab.opened.update(components[0].elem_id for *_, components in context.folded)  # what may have been opened
                updates = updates | context.all_again()
            # After a restart, the page may load twice: the notice is repeated until the visitor does something.
            if visitor.has_unkept if not had else not (visitor.has_unkept or new or opening):
                updates = updates | {context.memory: remembered(tab)}
            return updates or gr.skip()  # Gradio takes an empty dictionary for a value

    # Not "request": a handler may take the request, too.
    request = inspect.Parameter("_request", inspect.Parameter.POSITIONAL_ONLY, annotation=gr.Request)
    values = inspect.Parameter("values", inspect.Parameter.VAR_POSITIONAL)
    others = [parameter.replace(kind=inspect.Parameter.POSITIONAL_ONLY) for parameter in others]
    wrapped.__signature__ = inspect.Signature([request, *others, values])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {"_request": gr.Request} | getattr(handler, "__annotations__", {})
    return wrapped


def tab_of(context: StepContext, request: gr.Request, memory: object) -> tuple[Tab, bool]:
    """The visitor's tab, and whether it is a new one. Shows a notice if the visitor's data was deleted."""
    (token, had), session, visitors = memory_of(memory), request.session_hash or "", context.visitors
    before = visitors.find_tab(session)
    # The session hash cannot be the token: it is in URLs, and so in a proxy's log.
    token = token or (secrets.token_hex(16) if before is None else before.visitor.token)
    tab = visitors.tab(session, token, address_of(request))
    tab.here = request.client is not None and is_from_here(request.client.host, request.headers)
    if tab is not before and had and not tab.visitor.has_unkept:
        gr.Warning(texts.FORGOTTEN.format(minutes=f"{visitors.limits.keep_seconds / 60:g}"), duration=MESSAGE_SECONDS)
    return tab, tab is not before


def memory_of(memory: object) -> tuple[str, bool]:
    """The token that the browser remembers, and whether the visitor had anything to lose."""
    memory = memory if isinstance(memory, dict) else {}
    token = memory.get("token")
    return token if isinstance(token, str) and len(token) <= 64 else "", memory.get("has") is True


def remembered(tab: Tab, had: bool = False) -> dict[str, Any]:
    """What the browser remembers, as ``memory_of`` reads it."""
    return {"token": tab.visitor.token, "has": tab.visitor.has_unkept or had}
