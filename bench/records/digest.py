"""Which code decides something, and a hash of it.

A digest is taken of syntax trees: of a function or class, and of all that its names lead to in
bench, in `methods` and in the user's own modules, not in installed packages. Comments, docstrings,
layout, annotations and what an error says count for nothing, nor does code that nothing leads to.
So a remark, another metric or another paper's file leaves every digest as it is, and a real change
voids just what it decides.
"""

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.records.equal import EQUAL

Root = Callable[..., Any] | type | functools.partial[Any]

NOT_FOLLOWED = frozenset(
    {
        # tables that are looked into by name: whoever does so takes the entry's own digest
        "DATASETS",
        "DEGRADATIONS",
        "METRICS",
        "PROTOCOLS",
        # what the harness gives to a method; of this, the training loop's digest has what decides
        "Method",
        "Stage",
        # a set's pictures and metrics that a method asks for, to examine what it has learned
        "Pair",
        "load_pairs",
        "metric",
        # how updates are launched on a GPU: its own digest stands in the key of what it trains
        "Captured",
    }
)
"""Names in bench at which the way ends, unless it begins there."""

DECIDE_NOTHING = frozenset({"admit_large_pictures", "end_if_asked"})
"""Functions of which a call that stands alone counts for nothing: they decide whether there is a
result, and not which."""

FILES_ONLY = frozenset(
    {"bench.data.weights", "bench.data.roots", "bench.records.store", "bench.train.trained"}
)
"""Modules that find and keep files: which file it was stands in a key by its digest."""


class Definition(NamedTuple):
    """A name bound at the top of a module."""

    module: str
    name: str


def code_digest(*roots: Root) -> str:
    """Returns a hash of the code that the roots are made of.

    A root is a function, a class, a method of a class (alone), or a partial of one: then the
    arguments count too, those that are functions with their own code.
    """
    definitions: set[Definition] = set()
    values: list[str] = []
    for root in roots:
        _collect(root, definitions, values)
    trees = {(d.name, _tree(d)) for d in _reached(frozenset(definitions))}
    text = repr((sorted(trees), values))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return EQUAL.get(digest, digest)


def reached_from(*roots: Root) -> list[str]:
    """Returns the dotted names of all that the digest of these roots is made of."""
    definitions: set[Definition] = set()
    for root in roots:
        _collect(root, definitions, [])
    return sorted(f"{d.module}.{d.name}" for d in _reached(frozenset(definitions)))


def forget_code() -> None:
    """Reads files anew: for a process that outlives a change of its own code."""
    for cached in (_reached, _parsed, _uses, _tree, _top):
        cached.cache_clear()


def _collect(root: Any, definitions: set[Definition], values: list[str]) -> None:
    """Puts what a root names into `definitions`, and plain arguments of a partial into `values`."""
    if isinstance(root, functools.partial):
        _collect(root.func, definitions, values)
        for name, value in [*enumerate(root.args), *sorted(root.keywords.items())]:
            if callable(value):
                _collect(value, definitions, values)
            else:
                values.append(f"{name}={value!r}")
                definitions |= _by_path(value)
        return
    if "<" in root.__qualname__:
        raise ValueError(f"{root.__qualname__}: a digest needs a name that its module defines")
    definitions.add(Definition(root.__module__, root.__qualname__))


def _by_path(value: Any) -> set[Definition]:
    """What a dotted path such as "methods.nima.scorer" stands for, if it is one."""
    module, _, name = value.rpartition(".") if isinstance(value, str) else ("", "", "")
    if not module or not all(part.isidentifier() for part in value.split(".")):
        return set()
    source = _module(module)
    return {Definition(module, name)} if source and name in source.bound else set()


@functools.cache
def _reached(roots: frozenset[Definition]) -> frozenset[Definition]:
    seen: set[Definition] = set()
    waiting = sorted(roots)
    while waiting:
        definition = waiting.pop()
        if definition in seen:
            continue
        seen.add(definition)
        waiting += _uses(definition)
    return frozenset(seen)


# --- modules -----------------------------------------------------------------------------------


class _Module(NamedTuple):
    """The top level of a source file."""

    bound: dict[str, list[ast.stmt]]
    """Name -> the statements that bind it."""
    imported: dict[str, str]
    """Name -> dotted path of what it stands for."""
    loose: list[ast.stmt]
    """Statements that bind nothing and run all the same."""


def _module(name: str) -> _Module | None:
    """The module of that name; None if it is not the project's or the user's own."""
    file = _file(name)
    return _parsed(file, name, file.stat().st_mtime_ns) if file else None


def _file(name: str) -> Path | None:
    """Found without importing anything above it but the top package."""
    top, *rest = name.split(".")
    if (folder := _top(top)) is None:
        return None
    path = folder.joinpath(*rest)
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    file = path.with_name(path.name + ".py")
    return file if file.is_file() else None


@functools.cache
def _top(name: str) -> Path | None:
    """Where a top-level module lies, without suffix; None for installed and standard ones."""
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return None
    if (loaded := sys.modules.get(name)) is not None and getattr(loaded, "__file__", None):
        origin = str(loaded.__file__)
    else:
        spec = importlib.util.find_spec(name)
        origin = (spec.origin or "") if spec else ""
    path = Path(origin)
    if path.suffix != ".py":
        return None
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    if installed and name not in ("bench", "methods"):
        return None
    return path.parent if path.name == "__init__.py" else path.with_suffix("")


@functools.cache
def _parsed(file: Path, name: str, modified: int) -> _Module:
    module = _Module({}, {}, [])
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for statement in ast.parse(file.read_bytes()).body:
        _enter(statement, statement, module, package)
    return module


def _enter(part: ast.stmt, whole: ast.stmt, module: _Module, package: str) -> None:
    """Enters what a statement at the top of a module, or a part of it, imports and binds."""
    if isinstance(part, ast.Import | ast.ImportFrom):
        module.imported.update(_imports(part, package))
        return
    if isinstance(part, ast.If | ast.Try | ast.With):
        if not (isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test)):
            module.loose.append(part)
        for child in ast.iter_child_nodes(part):
            blocks = [child] if isinstance(child, ast.stmt) else getattr(child, "body", [])
            for statement in blocks if isinstance(blocks, list) else []:
                _enter(statement, whole, module, package)
        return
    names = _binds(part)
    for name in names:
        module.bound.setdefault(name, []).append(part)
    if not names and not _is_docstring(part):
        module.loose.append(part)


def _imports(node: ast.Import | ast.ImportFrom, package: str) -> dict[str, str]:
    """Name -> dotted path of each thing that the statement imports."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.split(".")[0]: alias.name
            if alias.asname
            else alias.name.split(".")[0]
            for alias in node.names
        }
    path = "." * node.level + (node.module or "")
    base = importlib.util.resolve_name(path, package) if node.level else path
    return {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}


def _binds(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    return [
        part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)
    ]


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str | type(...))
    )


def _decides_nothing(node: ast.AST) -> bool:
    """Whether it is a statement that calls one of DECIDE_NOTHING."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return name in DECIDE_NOTHING
    return False


# --- what a definition uses --------------------------------------------------------------------


def _statements(definition: Definition) -> list[ast.stmt]:
    """The statements that make a definition; of "Class.method" the method's alone."""
    module = _module(definition.module)
    if module is None:
        return []
    top, *inner = definition.name.split(".")
    if top == "*":  # what a module does besides binding names
        return module.loose
    statements = module.bound.get(top, [])
    for name in inner:
        statements = [
            part
            for outer in statements
            for part in getattr(outer, "body", [])
            if name in _binds(part)
        ]
    return statements


@functools.cache
def _uses(definition: Definition) -> list[Definition]:
    """The definitions that a definition's names lead to."""
    module = _module(definition.module)
    if module is None:
        return []
    uses = _Uses(module, definition.module)
    for statement in _statements(definition):
        uses.visit(statement)
    found = [_resolve(path) for path in uses.paths]
    here = [Definition(definition.module, "*")] if module.loose else []
    return [use for use in (*found, *here) if use is not None]


def _resolve(path: str) -> Definition | None:
    """The definition that a dotted path stands for, also by way of a package that passes it on."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = _module(name := ".".join(parts[:count]))
        if module is None:
            continue
        attribute = parts[count]
        if name in FILES_ONLY or (name.startswith("bench.") and attribute in NOT_FOLLOWED):
            return None
        if attribute in module.bound:
            return Definition(name, attribute)
        if attribute in module.imported:
            further = ".".join([module.imported[attribute], *parts[count + 1 :]])
            return _resolve(further) if further != path else None
        return None
    return None


class _Uses(ast.NodeVisitor):
    """Collects the dotted paths of all that a definition uses from outside it."""

    def __init__(self, module: _Module, name: str) -> None:
        self.module, self.name = module, name
        self.paths: set[str] = set()
        self.local: list[dict[str, str]] = [{}]
        """Scopes, inmost last: name -> what it was imported from; "" for what is bound there."""

    def visit_Name(self, node: ast.Name) -> None:
        self._use(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        names: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._use(".".join([inner.id, *names]))
        else:
            self.visit(inner)

    def visit_Constant(self, node: ast.Constant) -> None:
        """An annotation may be text."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """What an error says decides nothing."""

    def visit_Expr(self, node: ast.Expr) -> None:
        if not _decides_nothing(node):
            self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        self.local[-1].update(_imports(node, self.name))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.local[-1].update(_imports(node, self.name.rpartition(".")[0]))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a]
        outside = [*arguments.defaults, *filter(None, arguments.kw_defaults)]
        outside += [a.annotation for a in every if a.annotation]  # whose methods are called
        if not isinstance(node, ast.Lambda):
            outside += [*node.decorator_list, *([node.returns] if node.returns else [])]
        for part in outside:
            self.visit(part)
        body: list[Any] = [node.body] if isinstance(node, ast.Lambda) else node.body
        bound = {argument.arg for argument in every} | _stores(body)
        self.local.append(dict.fromkeys(bound, ""))
        for part in body:
            self.visit(part)
        self.local.pop()

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def _use(self, path: str) -> None:
        first, dot, rest = path.partition(".")
        for scope in reversed(self.local):
            if first in scope:
                if scope[first]:
                    self._add(scope[first] + dot + rest)
                return
        if first in self.module.imported:
            self._add(self.module.imported[first] + dot + rest)
        elif first in self.module.bound:
            self._add(f"{self.name}.{path}")

    def _add(self, path: str) -> None:
        if (module := _module(path)) is None:
            self.paths.add(path)
        else:  # a module that is handed on whole
            self.paths |= {f"{path}.{name}" for name in module.bound}


def _stores(body: list[Any]) -> set[str]:
    """Names that a function's body binds, but not in the functions inside it."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(body)
    declared: set[str] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Global | ast.Nonlocal):
            declared |= set(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        waiting += ast.iter_child_nodes(node)
    return names - declared


# --- trees as text -----------------------------------------------------------------------------


@functools.cache
def _tree(definition: Definition) -> str:
    """The definition's syntax tree, in words that do not depend on the version of Python."""
    return repr([_plain(statement) for statement in _statements(definition)])


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        counting = [item for item in node if not _decides_nothing(item)]
        return [_plain(item) for item in counting if not _is_docstring(item)]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    for name in ("annotation", "returns", "type_comment", "kind", "ctx", "type_params"):
        fields.pop(name, None)
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        fields["exc"] = node.exc.func
    return [type(node).__name__, *((name, _plain(value)) for name, value in fields.items())]
