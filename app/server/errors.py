"""How errors reach people: messages written for them stay as they are; for others, a general message and a log entry."""

import errno
import functools
import logging
import re
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from app.languages import texts
from core.common.errors import StudioError

log = logging.getLogger(__name__)
SECONDS_SHOWN = 15
DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
PATH = re.compile(r"(?<![\w/.])/(?:[^\s/:,;()'\"]+/)+([^\s/:,;()'\"]+)")


def friendly(handler: Callable[..., Any], public: bool = False) -> Callable[..., Any]:
    """The handler of an event, with its errors turned into messages. The page shows a warning and loses no input. The client of
    a ``public`` endpoint gets an exception with the message, never a stack trace."""

    @functools.wraps(handler)
    def wrapped(*args: Any) -> Any:
        try:
            return handler(*args)
        except StudioError as error:
            message = without_paths(texts.of(error))
        except Exception as error:  # its details go to the log
            full = isinstance(error, OSError) and error.errno in DISK_TROUBLE
            log.error("%s failed: %s", getattr(handler, "__name__", handler), error, exc_info=not full)
            message = texts.DISK_TROUBLE if full else texts.UNEXPECTED
        if public:
            raise gr.Error(message, print_exception=False)
        # The toast renders HTML, and messages may quote visitors' words.
        gr.Warning(escape(message, quote=False), duration=SECONDS_SHOWN)
        return {}

    return wrapped


def without_paths(message: str) -> str:
    """A message that shows files by name, not by their path on the server."""
    return PATH.sub(r"\1", message)
