"""The one way into the app: page events and endpoints run here, in turn, with errors as messages and within limits."""

import functools
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from html import escape
from math import inf
from typing import Any

import gradio as gr

from app.languages import ENGLISH, speaking
from app.server.errors import message_of
from app.server.hosts import address_of
from app.server.mcp import visitor_of
from app.server.turns import Turns
from app.visitors.registry import Visitors
from app.visitors.tab import Tab

SECONDS_SHOWN = 15  # a message
# Groups of events: sentences, searches, and new photos. A search does not wait behind another visitor's upload.
LIGHT, SEARCH, HEAVY = "light", "search", "photos"
OPEN = "open"  # the page calls these by itself, and some wait for the models; without a limit
TRAINING, INDEX = "training", "index"  # one event at a time; uploads and searches do not wait for it
# Most events of a group that run at once, and of one address among them. A sentence takes milliseconds, its file longer; a
# light event may wait for its tab's answer. ``answering.COMPUTING`` bounds the searches that compute; uploads take turns,
# photo by photo and batch by batch.
TURNS = {group: Turns(*most) for group, most in {LIGHT: (10, 4), SEARCH: (16, 6), HEAVY: (8, 3)}.items()}
TURNS |= {TRAINING: Turns(1, 1), INDEX: Turns(1, 1), OPEN: Turns(inf, inf)}


def call(tab: Tab, handler: Callable[..., Any], *values: Any, in_turn: bool = False, public: bool = False) -> Any:
    """Run a handler for a tab, in the tab's turn or beside it. The page shows its error as a warning and loses no input. The
    client of a ``public`` endpoint gets an exception with the message, never a stack trace."""
    with tab.visitor.in_use(), tab.turn if in_turn else nullcontext():
        try:
            return handler(*values)
        except Exception as error:
            message = message_of(error, handler.__name__)
        if public:
            raise gr.Error(message, print_exception=False)
        # The toast renders HTML, and messages may quote visitors' words.
        gr.Warning(escape(message, quote=False), duration=SECONDS_SHOWN)
        return {}


def endpoint(visitors: Visitors, function: Callable[..., Any], group: str) -> Callable[..., Any]:
    """An endpoint as Gradio calls it: with the request in the place of the client's ``tab``. It answers in English. It returns
    what its own call computed and changes no answer, so a client's calls run side by side."""

    def answered(request: gr.Request, *values: Any) -> Any:
        name = visitor_of(request) or request.session_hash or ""
        with speaking(ENGLISH):
            tab, _ = visitors.tab(name, name, address_of(request))  # an API client's session is its token
            answer = call(tab, function, tab, *values, public=True)
            visitors.settle(tab.visitor)
            return answer

    @functools.wraps(function)
    async def called(request: gr.Request, *values: Any) -> Any:
        return await TURNS[group].run(address_of(request), functools.partial(answered, request, *values))

    tab, *others = inspect.signature(function).parameters.values()
    called.__signature__ = inspect.Signature([tab.replace(annotation=gr.Request), *others])  # type: ignore[attr-defined]
    called.__annotations__ = function.__annotations__ | {tab.name: gr.Request}
    return called
