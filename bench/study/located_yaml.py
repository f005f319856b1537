"""YAML that remembers on which line each value stands and has none of YAML 1.1's traps."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.errors import BenchError

Keys = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Reads `1e-4` as a float, as YAML 1.2 does, and `no`, `on`, `off`, `yes`, `1:30` as text."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("bool", "int", "float", "timestamp", "merge")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        "-+.0123456789",
    ),
]:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )
# PyYAML's own reads 010 as octal, and stops at 08
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value.replace("_", "")))


@dataclass
class Document:
    """What a YAML file says, and where."""

    source: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Keys, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What is wrong with the file itself, such as a key given twice."""
    header: str = ""
    """The comment at the top."""

    def at(self, path: Keys) -> str:
        """Returns "file:line: dotted.path", with the line of the nearest thing that is there."""
        near = path
        while near and near not in self.lines:
            near = near[:-1]
        line = self.lines.get(near, 1)
        place = f"{self.source}:{line}" if line else "--set"
        return f"{place}: {'.'.join(map(str, path))}" if path else place


def load_yaml(file: Path) -> Document:
    """Returns the document. Raises BenchError if there is none, or it is no YAML mapping."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        near = [str(p) for p in sorted(file.parent.glob("*.yaml"))] if file.parent.is_dir() else []
        known = f" Known: {', '.join(near)}." if near else ""
        raise BenchError(f"{file}: cannot be read: {error.strerror}.{known}") from None
    except UnicodeDecodeError as error:
        raise BenchError(f"{file}: not UTF-8 text ({error.reason}).") from None
    document = Document(str(file), header=_header(text))
    try:
        root = yaml.compose(text, Loader=_Loader)
        if isinstance(root, yaml.MappingNode):
            document.data = _value(root, (), document)
    except RecursionError:
        raise BenchError(f"{file}: an alias (*name) contains itself. Write it out.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BenchError(f"{file}:{line}: not valid YAML: {what}.") from None
    if not isinstance(root, yaml.MappingNode):
        raise BenchError(f"{file}:1: needs a mapping (key: value), got {_kind(root)}.")
    return document


def parse_scalar(text: str) -> Any:
    """Returns the value that `text` would have in a study file, for `--set key=text`."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text


def _value(node: yaml.Node, path: Keys, document: Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node)
            here = (*path, str(key))
            line = key_node.start_mark.line + 1
            if isinstance(key, list | dict):
                place = f"{document.source}:{line}"
                document.problems.append(f"{place}: a key must be a word, got {key!r}.")
                continue
            if str(key) in result:
                document.problems.append(
                    f"{document.source}:{line}: {'.'.join(map(str, here))}: given twice, first on "
                    f"line {document.lines.get(here, 1)}. Delete one."
                )
                continue
            document.lines[here] = line
            result[str(key)] = _value(value_node, here, document)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), document) for i, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _header(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return "\n".join(line for line in lines if not line.startswith("yaml-language-server"))


def _kind(node: Any) -> str:
    return {yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}.get(
        type(node), "nothing"
    )
