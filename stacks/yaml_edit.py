"""Edits of a YAML file that touch nothing but the edited value: comments, order, quotes and spacing stay byte for byte.

Every edit is a change of the text at a position that the parser gave. It is then read back, and an edit that says
anything else than what was meant is an error instead of a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stacks.errors import ManifestError
from stacks.yaml_document import Key, KeyPath, YamlDocument, entries, parse

_TEXT: Final = "tag:yaml.org,2002:str"
_OLD_BOOLEANS: Final = frozenset({"y", "n", "yes", "no", "on", "off"})  # of YAML 1.1, which many readers still speak
_COMMENT: Final = re.compile(r"(?P<indent> *)#")


def scalar(value: str) -> str:
    """Return `value` as YAML: as it is where every reader takes it for exactly that text, else in double quotes."""
    if not value or "\n" in value or "#" in value or value.lower() in _OLD_BOOLEANS:
        return json.dumps(value, ensure_ascii=False)
    # Within brackets commas and brackets mean something, on a line of its own a hyphen may.
    probe = parse(f"- {value}\n- [{value}]\n", "")
    nodes = (find(probe.root, (0,)), find(probe.root, (1, 0)))
    reads_back = not probe.problems and probe.data == (value, (value,))
    if reads_back and all(node is not None and str(node.tag) == _TEXT for node in nodes):
        return value
    return json.dumps(value, ensure_ascii=False)


def with_value(document: YamlDocument, path: KeyPath, value: str, order: Sequence[str]) -> YamlDocument:
    """Return the document with the text `value` at `path`, in place of the scalar there or as a new key.

    A new key comes behind the last of the keys that stand before it in `order`. A mapping on the way that does not
    exist yet is written in one line.
    """
    *parent, key = path
    found = find(document.root, path)
    if isinstance(found, ScalarNode):
        text = _replaced(document, path, found, scalar(value))
    else:
        mapping = find(document.root, tuple(parent))
        written = f"{key}: {scalar(value)}"
        while mapping is None and parent:
            key = parent.pop()
            written = f"{key}: {{{written}}}"
            mapping = find(document.root, tuple(parent))
        if found is not None or not isinstance(mapping, MappingNode):
            raise _by_hand(document, path, value)
        text = _with_key(document.text, mapping, str(key), written, order)
    return _verified(document, text, path, _with_data(document.data, path, value), value)


def without_key(document: YamlDocument, path: KeyPath) -> YamlDocument:
    """Return the document without the key at `path`, its value, and the comment behind it on the same line.

    The value is a scalar or a mapping. One with comments of its own lines stays, for people to take out.
    """
    *parent, key = path
    mapping, found = find(document.root, tuple(parent)), find(document.root, path)
    if (
        not isinstance(mapping, MappingNode)
        or not isinstance(found, (ScalarNode, MappingNode))
        or len(mapping.value) == 1
    ):
        raise _by_hand(document, path, "the block without it")
    index = [name for name, _, _ in entries(mapping)].index(str(key))
    text, (start, end) = document.text, _extent(document.text, mapping, index)
    if "#" in text[_next_line(text, _content_end(found, mapping.value[index][0])) : end]:
        # A comment of its own, which may be about the next key.
        raise _by_hand(document, path, "the block without it")
    before = _data_at(document.data, tuple(parent))
    after = {name: value for name, value in before.items() if name != key}
    meant = _with_data(document.data, tuple(parent), after)
    return _verified(document, text[:start] + text[end:], path, meant, "the block without it")


def with_item(document: YamlDocument, path: KeyPath, item: Mapping[str, object]) -> YamlDocument:
    """Return the document with one more mapping at the end of the list at `path`.

    Its values are texts and booleans, and mappings and lists of them.
    """
    items = find(document.root, path)
    if not isinstance(items, SequenceNode):
        raise _by_hand(document, path, "a new entry")
    text, newline = document.text, _newline(document.text)
    if items.flow_style and items.value:
        at = _content_end(items.value[-1])
        text = f"{text[:at]}, {_flow(item)}{text[at:]}"
    else:
        column = 2 if items.flow_style else items.start_mark.column
        block = newline.join(" " * column + line for line in _block([item]))
        if items.flow_style:
            # `[]` goes, and a comment behind it stays on its line.
            end = items.end_mark.index
            at = _line_after(text, end)
            head = text[: items.start_mark.index].rstrip(" ") + text[end:at]
            text = f"{head}{_line_break(head, len(head), newline)}{block}{newline}{text[at:]}"
        else:
            at = _block_end(text, items.value[-1], column + 1)
            gap = newline if _has_gaps(text, items) else ""
            text = f"{text[:at]}{_line_break(text, at, newline)}{gap}{block}{newline}{text[at:]}"
    before = _data_at(document.data, path)
    return _verified(document, text, path, _with_data(document.data, path, (*before, _plain(item))), "a new entry")


def without_item(document: YamlDocument, path: KeyPath) -> YamlDocument:
    """Return the document without the list entry at `path` and the comments that belong to it.

    Those are the comments inside of it and those right above it, but not above the first: they may be the list's.
    """
    *parent, index = path
    items = find(document.root, tuple(parent))
    if not isinstance(items, SequenceNode) or not isinstance(index, int):
        raise _by_hand(document, path, "nothing")
    text = _without_flow(document.text, items, index) if items.flow_style else _without_block(document, path, items)
    before = _data_at(document.data, tuple(parent))
    after = tuple(entry for position, entry in enumerate(before) if position != index)
    return _verified(document, text, path, _with_data(document.data, tuple(parent), after), "nothing")


def _flow(value: object) -> str:
    """Return a value in one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(each)}' for key, each in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_flow(each) for each in value)}]"
    return str(value).lower() if isinstance(value, bool) else scalar(str(value))


def _block(value: object) -> list[str]:
    """Return the lines of a mapping or of a list of mappings."""
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, each in value.items():
            nested = _block(each) if isinstance(each, (Mapping, list, tuple)) and each else []
            lines += [f"{key}:", *(f"  {line}" for line in nested)] if nested else [f"{key}: {_flow(each)}"]
    elif isinstance(value, (list, tuple)):
        for each in value:
            first, *rest = _block(each) or [_flow(each)]
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _plain(value: object) -> object:
    """Return a value as the parser gives it: lists are tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return tuple(_plain(each) for each in value) if isinstance(value, (list, tuple)) else value


def find(node: Node | None, path: KeyPath) -> Node | None:
    """Return the node at `path`, or None."""
    for key in path:
        if isinstance(node, MappingNode):
            node = next((value for name, _, value in entries(node) if name == key), None)
        elif isinstance(node, SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
        else:
            return None
    return node


def _replaced(document: YamlDocument, path: KeyPath, found: Node, written: str) -> str:
    """Return the text with the scalar `found` replaced; one that is empty has no place of its own."""
    start, end = found.start_mark.index, found.end_mark.index
    if _is_empty(found):
        start = end = _colon(document, path)
        written = f" {written}"
    return document.text[:start] + written + document.text[end:]


def _extent(text: str, mapping: MappingNode, index: int) -> tuple[int, int]:
    """Return from where to where one of a mapping's several keys goes, with what separates it from the others."""
    key, value = mapping.value[index]
    start, end = key.start_mark.index, _content_end(value, key)
    following = mapping.value[index + 1][0].start_mark.index if index < len(mapping.value) - 1 else None
    if mapping.flow_style:
        if following is not None:
            return start, following
        return _content_end(mapping.value[index - 1][1], mapping.value[index - 1][0]), end
    if index == 0 and following is not None:
        # It may share its line with the hyphen of a list, where the next key then goes.
        return start, following
    return text.rfind("\n", 0, start) + 1, _next_line(text, end)


def _without_flow(text: str, items: SequenceNode, index: int) -> str:
    """Return the text without one entry and its comma: the one behind it, or for the last one the one before it."""
    entry = items.value[index]
    start, end = entry.start_mark.index, _content_end(entry)
    if index < len(items.value) - 1:
        end = items.value[index + 1].start_mark.index
    elif index:
        start = _content_end(items.value[index - 1])
    return text[:start] + text[end:]


def _without_block(document: YamlDocument, path: KeyPath, items: SequenceNode) -> str:
    """Return the text without the lines of one entry."""
    text, index, column = document.text, items.value.index(find(document.root, path)), items.start_mark.column
    start = text.rfind("\n", 0, items.value[index].start_mark.index) + 1
    end = _block_end(text, items.value[index], column + 1)
    if index:
        start = _comments_above(text, start, column)
    if index < len(items.value) - 1:
        while not _line_at(text, end).strip():
            end = _line_after(text, end)
    else:
        start = len(text[:start].rstrip()) + len(_newline(text))
    if len(items.value) == 1:
        start = text.rfind("\n", 0, items.value[0].start_mark.index) + 1
        colon = _colon(document, path[:-1])
        return f"{text[:colon]} []{text[colon:start]}{text[end:]}"
    return text[:start] + text[end:]


def _colon(document: YamlDocument, path: KeyPath) -> int:
    """Return the place right behind the colon of the key at `path`."""
    parent = find(document.root, path[:-1])
    if not isinstance(parent, MappingNode):
        raise _by_hand(document, path, "it")
    key_node = next(key_node for name, key_node, _ in entries(parent) if name == path[-1])
    return document.text.index(":", key_node.end_mark.index) + 1


def _with_key(text: str, mapping: MappingNode, key: str, written: str, order: Sequence[str]) -> str:
    """Return the text with the line `written` in `mapping`, behind the last key that comes before `key` in `order`."""
    if not mapping.value:
        at = mapping.start_mark.index + 1
        return text[:at] + written + text[at:]
    earlier = order[: order.index(key)] if key in order else [name for name, _, _ in entries(mapping)]
    before = [(key_node, value) for name, key_node, value in entries(mapping) if name in earlier]
    newline = _newline(text)
    if mapping.flow_style:
        at = _content_end(before[-1][1], before[-1][0]) if before else mapping.value[0][0].start_mark.index
        return text[:at] + (f", {written}" if before else f"{written}, ") + text[at:]
    column = mapping.value[0][0].start_mark.column
    if not before:
        at = mapping.value[0][0].start_mark.index
        return f"{text[:at]}{written}{newline}{' ' * column}{text[at:]}"
    at = _next_line(text, _content_end(before[-1][1], before[-1][0]))
    return f"{text[:at]}{_line_break(text, at, newline)}{' ' * column}{written}{newline}{text[at:]}"


def _content_end(node: Node, key: Node | None = None) -> int:
    """Return where the last thing that `node` itself says ends; a block's own end mark is behind later comments."""
    if _is_empty(node):
        return int((key or node).end_mark.index)
    if isinstance(node, MappingNode) and not node.flow_style:
        key_node, value = node.value[-1]
        return _content_end(value, key_node)
    if isinstance(node, SequenceNode) and not node.flow_style:
        return _content_end(node.value[-1])
    return int(node.end_mark.index)


def _block_end(text: str, item: Node, column: int) -> int:
    """Return the start of the line behind a list entry and behind its comments, indented by `column` or more."""
    at = _next_line(text, _content_end(item))
    while (comment := _COMMENT.match(_line_at(text, at))) and len(comment["indent"]) >= column:
        at = _line_after(text, at)
    return at


def _comments_above(text: str, start: int, column: int) -> int:
    """Return the start of the first of the comment lines that stand right above the line at `start`."""
    while start:
        above = text.rfind("\n", 0, start - 1) + 1
        comment = _COMMENT.match(_line_at(text, above))
        if not comment or len(comment["indent"]) < column:
            break
        start = above
    return start


def _has_gaps(text: str, items: SequenceNode) -> bool:
    """Return whether people leave an empty line between the entries."""
    if len(items.value) < 2:
        return False
    between = text[_content_end(items.value[-2]) : items.value[-1].start_mark.index]
    return any(not line.strip() for line in between.splitlines()[1:-1])


def _next_line(text: str, at: int) -> int:
    """Return the start of the line behind the one that `at` is in; a block scalar's end is a line's start already."""
    return at if at and text[at - 1] == "\n" else _line_after(text, at)


def _line_after(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _line_at(text: str, at: int) -> str:
    end = text.find("\n", at)
    return text[at : len(text) if end < 0 else end]


def _line_break(text: str, at: int, newline: str) -> str:
    """Return the line break that is missing at `at`, in a file whose last line has none."""
    return "" if at == 0 or text[at - 1] == "\n" else newline


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == "" and node.style is None


def _data_at(data: object, path: KeyPath) -> Any:
    for key in path:
        data = data[key]  # type: ignore[index] # the node tree has this path, so the data has it
    return data


def _with_data(data: object, path: KeyPath, value: object) -> object:
    """Return plain data with `value` at `path`."""
    if not path:
        return value
    key, *rest = path
    if isinstance(data, tuple):
        return tuple(_with_data(old, tuple(rest), value) if index == key else old for index, old in enumerate(data))
    mapping: dict[Key, object] = dict(data) if isinstance(data, dict) else {}
    return {**mapping, key: _with_data(mapping.get(key), tuple(rest), value)}


def _verified(document: YamlDocument, text: str, path: KeyPath, meant: object, value: str) -> YamlDocument:
    after = parse(text, document.where)
    if after.problems != () or after.data != meant:
        raise _by_hand(document, path, value)
    return after


def _by_hand(document: YamlDocument, path: KeyPath, value: str) -> ManifestError:
    key = ".".join(str(part) for part in path)
    return ManifestError(
        document.at(path), f"{key} is written in a way that cannot be edited", f"write {value} by hand"
    )
