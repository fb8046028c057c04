"""YAML files of templates: texts, lists and mappings with their lines, and nothing else of YAML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from napari_medreason.errors import TemplateError
from napari_medreason.io.template_rows import Row, check_format, check_top

_DEEPEST = 4
_NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class _Node:
    """A value and its line; a scalar's text, a list's nodes, or a mapping's pairs of nodes."""

    kind: Literal["text", "list", "mapping"]
    line: int
    value: Any


def yaml_rows(text: str, name: str) -> list[Row]:
    """Rows of a YAML text: format, defaults for all templates, and the list of templates."""
    root = _root(text, name)
    top, lines = _mapping(root, name)
    check_top(top, lines, name)
    check_format(_text(top["format"], name), lines["format"], name)
    default_nodes, default_lines = _mapping(top["defaults"], name) if "defaults" in top else ({}, {})
    defaults = {key: _text(node, name) for key, node in default_nodes.items()}
    if top["templates"].kind != "list":
        raise TemplateError(
            f"{name}, line {lines['templates']}: 'templates' is no list; start each with '- id:'"
        )
    rows = []
    for node in top["templates"].value:
        entries, entry_lines = _mapping(node, name)
        values = {**defaults, **{key: _text(entry, name) for key, entry in entries.items()}}
        rows.append(Row(values, node.line, {**default_lines, **entry_lines}))
    return rows


def _root(text: str, name: str) -> _Node:
    import yaml

    # Events of the safe loader, not its tree: they hold the lines, build no object of any tag, and the
    # tree builder written in C crashes on deep nesting.
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        kinds = (yaml.StreamStartEvent, yaml.DocumentStartEvent)
        first = next(event for event in events if not isinstance(event, kinds))
        if isinstance(first, yaml.StreamEndEvent):
            raise TemplateError(f"{name}, line 1: the file is empty; it holds 'format' and 'templates'")
        root = _node(first, events, name, depth=0)
        rest = [event for event in events if isinstance(event, yaml.DocumentStartEvent)]
    except yaml.YAMLError as error:
        raise _bad_yaml(error, text, name) from error
    if rest:
        line = rest[0].start_mark.line + 1
        raise TemplateError(f"{name}, line {line}: a second document begins; a file holds one")
    return root


def _node(event: Any, events: Iterator[Any], name: str, *, depth: int) -> _Node:
    import yaml

    line = event.start_mark.line + 1
    if depth > _DEEPEST:
        raise TemplateError(f"{name}, line {line}: nested too deeply; docs/templates.md shows the form")
    if isinstance(event, yaml.ScalarEvent):
        empty = event.implicit[0] and event.value in _NULLS
        return _Node("text", line, "" if empty else event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        return _Node("list", line, list(_inside(events, yaml.SequenceEndEvent, name, depth)))
    if isinstance(event, yaml.MappingStartEvent):
        inside = _inside(events, yaml.MappingEndEvent, name, depth)
        return _Node("mapping", line, [(key, next(inside)) for key in inside])
    raise TemplateError(
        f"{name}, line {line}: references such as *name are not accepted; write the text again"
    )


def _inside(events: Iterator[Any], end: type, name: str, depth: int) -> Iterator[_Node]:
    for event in events:
        if isinstance(event, end):
            return
        yield _node(event, events, name, depth=depth + 1)


def _mapping(node: _Node, name: str) -> tuple[dict[str, _Node], dict[str, int]]:
    if node.kind != "mapping":
        raise TemplateError(
            f"{name}, line {node.line}: found a {node.kind}; accepted are lines such as 'kind: any'"
        )
    values: dict[str, _Node] = {}
    for key_node, value in node.value:
        key = _text(key_node, name)
        if key in values:
            raise TemplateError(f"{name}, line {key_node.line}: the key {key!r} is there twice; keep one")
        values[key] = _Node(value.kind, key_node.line, value.value)
    return values, {key: value.line for key, value in values.items()}


def _text(node: _Node, name: str) -> str:
    if node.kind != "text":
        raise TemplateError(
            f"{name}, line {node.line}: found a {node.kind} where a text is accepted; "
            "put a text that begins with a brace or bracket into quotes"
        )
    return str(node.value)


def _bad_yaml(error: Any, text: str, name: str) -> TemplateError:
    mark = getattr(error, "problem_mark", None)
    position = getattr(error, "position", None)
    line = mark.line + 1 if mark else text.count("\n", 0, position or 0) + 1
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not well formed"
    return TemplateError(
        f"{name}, line {line}: not valid YAML ({problem}); quote texts with ': ' or a brace in front"
    )
