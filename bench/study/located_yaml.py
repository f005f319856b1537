"""YAML that remembers on which line each value stands and has none of YAML 1.1's traps."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.errors import BenchError, nearest, reason_of

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
    text = read_text(file)
    document = Document(str(file), header=_header(text))
    try:
        root = yaml.compose(text, Loader=_Loader)
        if isinstance(root, yaml.MappingNode):
            document.data = _mapping(root, (), document)
    except RecursionError:
        raise BenchError(f"{file}: an alias (*name) contains itself. Write it out.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BenchError(f"{file}:{mark.line + 1 if mark else 1}: {_why(error)}") from None
    if not isinstance(root, yaml.MappingNode):
        raise BenchError(f"{file}:1: needs a mapping (key: value), got {_kind(root)}.")
    return document


_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""First bytes -> the encoding that they announce, if it is not UTF-8."""


def _files_beside(file: Path) -> str:
    """Which studies there are where a file was looked for, and in studies/; the nearest first."""
    folders = {
        folder: {path.stem: path for path in folder.glob("*.yaml")}
        for folder in dict.fromkeys((file.parent, Path("studies")))
    }
    near = [found[name] for found in folders.values() if (name := nearest(file.stem, found))]
    guess = f" Did you mean {str(near[0])!r}?" if near else ""
    known = [
        f" Known in {at}: {', '.join(sorted(found))}." for at, found in folders.items() if found
    ]
    return "".join([guess, *known])


def read_text(file: Path) -> str:
    """Returns a file's text, without a byte-order mark. Raises BenchError if there is none."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BenchError(
            f"{file}: cannot be read: {reason_of(error)}{_files_beside(file)}"
        ) from None
    try:
        return content.decode(_MARKS.get(content[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BenchError(
            f"{file}: not UTF-8 text (line {line}: {error.reason}). Save it as UTF-8."
        ) from None


def _why(error: yaml.YAMLError) -> str:
    """What is wrong with a text that is no YAML."""
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    if "another document" in what:
        return "a second document begins here (---). Write one."
    if r"'\t'" in what:
        return "not valid YAML: a tab. Indent with blanks."
    return f"not valid YAML: {what}."


def parse_scalar(text: str) -> Any:
    """Returns the value that `text` would have in a study file, for `--set key=text`."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text


def _value(node: yaml.Node, path: Keys, document: Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), document) for i, item in enumerate(node.value)]
    return _scalar(node)


def _mapping(node: yaml.MappingNode, path: Keys, document: Document) -> dict[str, Any]:
    document.lines.setdefault(path, node.start_mark.line + 1)
    result: dict[str, Any] = {}
    for key_node, value_node, own in _entries(node, document):
        key = _scalar(key_node)
        here = (*path, str(key))
        place = f"{document.source}:{key_node.start_mark.line + 1}"
        if isinstance(key, list | dict):
            document.problems.append(f"{place}: a key must be a word, got {key!r}.")
        elif str(key) not in result:
            document.lines[here] = key_node.start_mark.line + 1
            result[str(key)] = _value(value_node, here, document)
        elif own:
            document.problems.append(
                f"{place}: {'.'.join(map(str, here))}: given twice, first on "
                f"line {document.lines.get(here, 1)}. Delete one."
            )
    return result


def _entries(
    node: yaml.MappingNode, document: Document
) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
    """Keys, values and whether they are a mapping's own: then those of `<<`, the first to count."""
    merges = [pair for pair in node.value if _is_merge(pair[0])]
    yield from ((key, value, True) for key, value in node.value if not _is_merge(key))
    for key, value in merges:
        for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if isinstance(other, yaml.MappingNode):
                yield from ((k, v, False) for k, v, _ in _entries(other, document))
            else:
                place = f"{document.source}:{key.start_mark.line + 1}"
                document.problems.append(f"{place}: <<: needs a mapping, or a list of them.")


def _is_merge(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "<<" and node.style is None


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
