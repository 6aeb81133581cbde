"""Answers as text for people, from the data of the JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.common.errors import brief

MOST_LISTED = 20


def on_one_line(data: Any) -> Any:
    """The data with every text on one line, since names of files and experts may contain line ends."""
    if isinstance(data, Mapping):
        return {on_one_line(key): on_one_line(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [on_one_line(value) for value in data]
    return data.replace("\n", "\\n") if isinstance(data, str) else data


def facts(data: Mapping[str, Any]) -> str:
    """A line for each value; of a list of objects, their number."""
    return "\n".join(f"{key}: {_fact(value)}" for key, value in data.items() if value is not None)


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_fact(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        objects = value and isinstance(value[0], Mapping)
        return f"{len(value):,}" if objects else ", ".join(map(_fact, value)) or "none"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def routing(data: Mapping[str, Any]) -> str:
    width = max(len(e["name"]) for e in data["experts"])
    how = "has weights by hand of" if data.get("by_hand") else "is routed to"
    lines = [f"“{data['description']}” {how} {data['k']} experts (tau {data['tau']:g}):", ""]
    lines.append(f"  {'expert':{width}}  similarity  weight  description")
    for e in data["experts"]:
        lines.append(f"  {e['name']:{width}}  {e['similarity']:10.3f}  {e['weight']:6.1%}  {e['description']}")
    fit = data["fit"]
    notices = [fit["remark"]] if fit["remark"] else []
    if not fit["fits"]:
        notices = notices or [f"No expert fits this sentence (closeness {fit['closeness']:.2f})."]
        notices.append("Only the part that all experts share is applied.")
    elif not notices and fit["forgetting"] >= 1:
        notices.append(f"With these experts, the names of everyday objects lose {fit['forgetting']:.1f} points of R@1.")
    return "\n".join([*lines, *([""] if notices else []), *notices])


def adaptation(data: Mapping[str, Any]) -> str:
    return f"{routing(data)}\n\n{_written(data, ('seed', 'strength'))}"


def taught(data: Mapping[str, Any]) -> str:
    lines = [f"“{name['name']}”, {name['photos']} photo{'s' * (name['photos'] != 1)}" for name in data["names"]]
    return "\n".join([*lines, *data["remarks"], "", _written(data)])


def learned(data: Mapping[str, Any]) -> str:
    left, sides = data["left_out"], (("learned", "learned"), ("not_learned", "not learned"))
    lines = [f"{data['with_keywords']:,} of {data['photos']:,} photos have keywords."]
    if left["photos"]:
        shares = [f"{100 * left[key] / left['photos']:.0f}" for key in ("before", "after")]
        lines.append(f"Right keyword first, of {left['photos']:,} photos left out: {shares[0]} % before, {shares[1]} % now.")
    for key, title in sides:
        found = data[key]
        lines += ["", f"{title}: {len(found):,} keyword{'s' * (len(found) != 1)}"] if found else []
        for each in found[:MOST_LISTED]:
            gain = (
                "" if each["before"] is None else f", average precision {each['before']:.0f} before, {each['after']:.0f} taught"
            )
            why = f" {each['reason']}" if each["reason"] else ""
            lines.append(f"  “{brief(each['keyword'])}”, {each['photos']:,} photo{'s' * (each['photos'] != 1)}{gain}.{why}")
        lines += [f"  and {len(found) - MOST_LISTED:,} more (--json lists all)"] if len(found) > MOST_LISTED else []
    return "\n".join([*lines, "", f"out: {data['out']}" if data["out"] else "Nothing was learned, so nothing was written."])


def _written(data: Mapping[str, Any], more: Sequence[str] = ()) -> str:
    return facts({key: data[key] for key in (*more, "parameters", "rank", "out", "files")})


def tagged(data: Mapping[str, Any]) -> str:
    lines = []
    for each in data["tags"]:
        if each.get("score") is not None:
            files = f" in {each['files']:,} files" if each["files"] != each["photos"] else ""
            line = f"“{each['keyword']}”: {each['photos']:,} photos{files} score {each['score']:.3f} or more"
            for scores, which in ((each["own"], "photos that taught it"), (each["wrong"], "crossed photos")):
                kept = sum(score >= each["score"] for score in scores)
                line += f". Of the {len(scores)} {which}, {kept} score that much when left out" if scores else ""
            lines.append(line)
        if each.get("proposed") is not None:
            more = f"--at-least {each['proposed']:.3f} finds {each['proposed_photos']:,} photos"
            lines.append(f"“{each['keyword']}”: proposed for this name: {more}")
        done = "removed from" if data["remove"] else "added to"
        could = f"would be {done}" if data["dry_run"] else done
        lines.append(f"“{each['keyword']}”: {could} {len(each['changed']):,} sidecars; {each['same']:,} stay as they are")
        lines += [f"  {file}" for file in each["changed"][: MOST_LISTED if data["dry_run"] else 0]]
    return "\n".join(lines)


def gaps(data: Mapping[str, Any]) -> str:
    lines = [f"{data['with_keyword']:,} photos have one of the names; {data['proposals']:,} others have a proposal."]
    lines += [f"proposals: {data['review']}"] if data["review"] else []
    if data["precision"] is not None and data["proposals"] and not data["tags"]:
        lines.append(f"None reaches {data['precision']:g} %: the surest one has {data['highest']} %.")
    return "\n".join([*lines, *filter(None, [tagged(data)])])


def rankings(data: Mapping[str, Any], kind: str) -> str:
    """The rankings one below the other; ``kind``: "photo" or "caption"."""
    adapted = f", adapted to “{data['task']}”" if data["task"] else ""
    lines = [f"“{data['query']}” among {data['total']:,} {kind}s{adapted}"]
    for name, hits in data["rankings"].items():
        lines += ["", name]
        for hit in hits:
            moved = f"{hit['moved']:+d}" if hit["moved"] and name != "zero-shot" else ""
            lines.append(f"  {hit['rank']:4}  {hit['score']:6.3f}  {moved:>5}  {hit[kind]}")
    return "\n".join([*lines, *(["", f"links in {data['album']['folder']}"] if data["album"] else [])])


def recalls(data: Mapping[str, Any]) -> str:
    """A table with one line per method: recall in percent in both directions."""
    width = max(len(name) for name in data["methods"])
    heads = [f"{way} {k}" for way, values in next(iter(data["methods"].values())).items() for k in values]
    lines = [f"{data['images']} photos, {data['captions']} captions; recall in percent", ""]
    lines.append("  ".join([" " * width, *(f"{h:>8}" for h in heads)]))
    for name, ways in data["methods"].items():
        lines.append("  ".join([f"{name:{width}}", *(f"{v:8.1f}" for values in ways.values() for v in values.values())]))
    return "\n".join(lines)


def checked(data: Mapping[str, Any]) -> str:
    return "\n".join(f"{'pass' if each['passed'] else 'FAIL'}  {each['name']:8} {each['found']}" for each in data["checks"])
