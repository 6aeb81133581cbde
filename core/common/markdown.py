"""Results as Markdown tables and sentences, as docs/results.md and the Evidence tab show them."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def difference(interval: Sequence[float]) -> str:
    """A difference with its 95 % interval: "+1.2 [-0.3, +2.7]". One task has no interval."""
    mean, low, high = interval
    return f"{mean:+.1f}" if low == high else f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def share(interval: Sequence[float] | None) -> str:
    """A share in percent with its 95 % interval: "84 [73, 93]"; None: nothing."""
    return "" if interval is None else "{:.0f} [{:.0f}, {:.0f}]".format(*interval)
