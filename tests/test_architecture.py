"""The shape of the library: layers, sizes and names, read from its source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "worchflow"


@dataclass(frozen=True)
class Group:
    """Modules that may import each other, and what else they may import.

    Attributes:
        modules: Modules or packages (with all below), without the leading
            `worchflow`; `x.__init__` is the package's own file alone.
        uses: Groups that these modules may import; what those use, they may too.
        sealed: Only the groups that name this one may import it.
    """

    modules: tuple[str, ...]
    uses: tuple[str, ...] = ()
    sealed: bool = False


# Imports point down only. A new package gets its place here first.
GROUPS = {
    "foundations": Group(("foundations",)),
    "model": Group(("model",), uses=("foundations",)),
    "serialization": Group(("serialization",), uses=("model",)),
    "definitions": Group(("definitions",), uses=("serialization",)),
    "storage contract": Group(
        ("storage.contract", "storage.__init__"), uses=("model",)
    ),
    "sqlite": Group(("storage.sqlite",), uses=("storage contract",), sealed=True),
    "redis_mongo": Group(
        ("storage.redis_mongo",), uses=("storage contract",), sealed=True
    ),
    "store choice": Group(("storage.choice",), uses=("sqlite", "redis_mongo")),
    "engine": Group(("engine",), uses=("definitions", "storage contract")),
    "client": Group(("client",), uses=("engine", "store choice")),
    "worker": Group(("worker",), uses=("engine", "store choice")),
    "app": Group(("app",), uses=("client", "worker")),
    "ledger": Group(("ledger",), uses=("definitions",)),
    "integrations": Group(("integrations",), uses=("foundations",)),
    # It stands beside the app and looks at the stores themselves.
    "bench": Group(("bench",), uses=("app", "sqlite", "redis_mongo")),
    "cli": Group(("cli", "__main__"), uses=("app", "bench", "ledger")),
    "testing": Group(("testing",), uses=("app",)),
}

# An SQLite user never pays for the drivers of the others, nor they for SQLite.
DRIVERS = {"bson", "gridfs", "hiredis", "pymongo", "redis", "sqlite3"}
DRIVERS_IN = ("storage", "bench")
# Where users hand in clients of their own: these may name their types.
DRIVER_TYPES_IN = {"client", "worker", "app", "testing"}

# `import` inside a function hides a dependency; these do it to start quickly.
LAZY_IMPORTS_IN = ("app", "cli", "storage.choice")

# The blocking client names the client it wraps, whose property makes it.
TWINS = {("client.sync_client", "client.client")}

GUIDED_TO = re.compile(r"`([\w/]+)\.py`")

# Folders that their package's docstring speaks for.
PARTS_OF_A_PACKAGE = {"bench.programs", "cli.commands"}

# Where time, randomness and ids come from, and who may ask the machine without it: the
# ledger of a run is stamped with the one clock of its machine, and the bench measures.
RUNTIME = "foundations.runtime"
MACHINE = {"random", "secrets", "time", "uuid"}
CLOCKS = {"datetime.now", "datetime.today", "datetime.utcnow", "date.today"}
WITHOUT_RUNTIME = (RUNTIME, "bench", "ledger", "cli.commands.verify_ledger")
# Who may use the machine's own where a backend has another.
SYSTEM_IN = (RUNTIME, "bench", "cli", "foundations.forking", "model.options")

EMPTY_NAMES = {"common", "helper", "helpers", "manager", "managers", "util", "utils"}
MODULE_LINES = 400
FUNCTION_LINES = 50


@dataclass(frozen=True)
class Import:
    """One imported module; `target` is ours without the leading `worchflow`."""

    target: str
    line: int
    ours: bool
    lazy: bool
    for_types: bool


@dataclass(frozen=True)
class Module:
    """One source file under its name without the leading `worchflow`."""

    name: str
    source: str

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.source)


Tree = dict[str, Module]


def read_tree() -> Tree:
    """Read the library; the root's own file may import anything and is left out."""
    names = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
        for path in sorted(SOURCE.rglob("*.py"))
    }
    del names["__init__"]
    return {name: Module(name, path.read_text()) for name, path in names.items()}


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def group_of(name: str) -> str | None:
    """Find the group with the longest matching entry."""
    matches = [
        (len(entry), group)
        for group, members in GROUPS.items()
        for entry in members.modules
        if is_within(name, entry)
    ]
    return max(matches)[1] if matches else None


def allowed_groups(group: str) -> set[str]:
    """Return the groups that modules of this group may import."""
    allowed = {group}
    waiting = list(GROUPS[group].uses)
    direct = set(waiting)
    while waiting:
        used = waiting.pop()
        if used in direct or not GROUPS[used].sealed:
            allowed.add(used)
        waiting.extend(GROUPS[used].uses)
    return allowed


def imports_of(module: Module, tree: Tree) -> Iterator[Import]:
    """Yield every import of a module, resolved to the module it names."""
    package = module.name.split(".")[:-1]
    for node, lazy, for_types in walk_imports(module.tree):
        for target in named_modules(node, package, tree):
            ours = is_within(target, "worchflow")
            yield Import(
                target.removeprefix("worchflow").lstrip(".") if ours else target,
                node.lineno,
                ours,
                lazy,
                for_types,
            )


def walk_imports(
    tree: ast.Module,
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    """Yield import statements: inside a function? for type checkers only?"""
    waiting: list[tuple[ast.AST, bool, bool]] = [(tree, False, False)]
    while waiting:
        node, lazy, for_types = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, lazy, for_types
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend((child, lazy, True) for child in node.body)
            waiting.extend((child, lazy, for_types) for child in node.orelse)
            continue
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting.extend((c, lazy, for_types) for c in ast.iter_child_nodes(node))


def named_modules(
    node: ast.Import | ast.ImportFrom, package: list[str], tree: Tree
) -> Iterator[str]:
    """Yield the full names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (existing(alias.name, tree) for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        above = package[: len(package) - node.level + 1]
        base = ".".join(["worchflow", *above, *filter(None, [node.module])])
    for alias in node.names:
        submodule = existing(f"{base}.{alias.name}", tree)
        inner = submodule.removeprefix("worchflow.")
        yield submodule if inner in tree else existing(base, tree)


def existing(full_name: str, tree: Tree) -> str:
    """Name a package of ours by its own file."""
    own_file = f"{full_name}.__init__"
    return own_file if own_file.removeprefix("worchflow.") in tree else full_name


def functions_of(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


# --- the rules: each yields what is wrong in a tree --------------------------------


def modules_without_a_place(tree: Tree) -> Iterator[str]:
    for name in tree:
        if group_of(name) is None:
            yield f"{name}: add it to a group in GROUPS of {Path(__file__).name}"


def imports_that_point_up(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        group = group_of(module.name)
        for found in imports_of(module, tree):
            target = group_of(found.target) if found.ours else None
            if group and target and target not in allowed_groups(group):
                yield (
                    f"{module.name}:{found.line}: {group} must not import "
                    f"{target} ({found.target})"
                )


def imports_of_the_root(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        for found in imports_of(module, tree):
            if found.ours and found.target == "":
                yield (
                    f"{module.name}:{found.line}: import from the module itself, "
                    "not from the root"
                )


def import_cycles(tree: Tree) -> Iterator[str]:
    graph = {
        module.name: {
            found.target
            for found in imports_of(module, tree)
            if found.ours
            and found.target in tree
            and not (found.for_types and (module.name, found.target) in TWINS)
        }
        for module in tree.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " -> ".join(reversed(error.args[1]))


def hidden_imports(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if any(is_within(module.name, lazy) for lazy in LAZY_IMPORTS_IN):
            continue
        for found in imports_of(module, tree):
            if found.ours and found.lazy:
                yield f"{module.name}:{found.line}: import it at the top of the file"


def drivers_outside_storage(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if any(is_within(module.name, each) for each in DRIVERS_IN):
            continue
        for found in imports_of(module, tree):
            if found.ours or found.target.split(".")[0] not in DRIVERS:
                continue
            if not (found.for_types and group_of(module.name) in DRIVER_TYPES_IN):
                yield (f"{module.name}:{found.line}: {found.target} belongs in storage")


def drivers_that_every_user_pays_for(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if group_of(module.name) not in {"store choice", "storage contract"}:
            continue
        for found in imports_of(module, tree):
            driver = not found.ours and found.target.split(".")[0] in DRIVERS
            if driver and not found.lazy and not found.for_types:
                yield (
                    f"{module.name}:{found.line}: {found.target} belongs in a backend"
                )


def machine_without_the_runtime(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if any(is_within(module.name, each) for each in WITHOUT_RUNTIME):
            continue
        for node, name in asked_of_the_machine(module):
            yield f"{module.name}:{node.lineno}: {name} is for the Runtime to ask"


def asked_of_the_machine(module: Module) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """What a module takes from the machine: clocks, random numbers and ids."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, a.name) for a in node.names if a.name in MACHINE)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = {alias.name for alias in node.names} - {"UUID"}
            if node.module in MACHINE and names:
                yield node, f"{node.module}.{min(names)}"
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in CLOCKS or name == "os.urandom":
                yield node, name


def system_runtime_where_a_backend_has_one(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if any(is_within(module.name, each) for each in SYSTEM_IN):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name) and node.id == "SYSTEM":
                yield f"{module.name}:{node.lineno}: take the runtime of the backend"


def names_that_say_nothing(tree: Tree) -> Iterator[str]:
    for name in tree:
        if EMPTY_NAMES.intersection(name.replace(".", "_").split("_")):
            yield f"{name}: name what the module is for"


def long_modules(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        lines = len(module.source.splitlines())
        if lines >= MODULE_LINES:
            yield f"{module.name}: {lines} lines, {MODULE_LINES} are too many"


def long_functions(tree: Tree) -> Iterator[str]:
    """Count a function's body; signature and docstring are its contract."""
    for module in tree.values():
        for function in functions_of(module):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            lines = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > FUNCTION_LINES:
                yield (
                    f"{module.name}:{function.lineno}: {function.name} has {lines} "
                    f"lines, more than {FUNCTION_LINES}"
                )


def missing_annotations(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        for function in functions_of(module):
            given = function.args
            arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            if arguments and arguments[0].arg in {"self", "cls"}:
                del arguments[0]
            arguments += [star for star in (given.vararg, given.kwarg) if star]
            bare = [a.arg for a in arguments if a.annotation is None]
            if bare or function.returns is None:
                what = ", ".join(bare) or "its result"
                yield (
                    f"{module.name}:{function.lineno}: {function.name} does not "
                    f"annotate {what}"
                )


def packages_without_a_guide(tree: Tree) -> Iterator[str]:
    """What lives there, what it may import, where to start."""
    for module in tree.values():
        package, _, own_file = module.name.rpartition(".")
        if own_file != "__init__" or package in PARTS_OF_A_PACKAGE:
            continue
        guide = ast.get_docstring(module.tree) or ""
        if not all(word in guide.lower() for word in ("import", "start with")):
            yield f"{package}: its docstring says what it imports and where to start"
        for path in GUIDED_TO.findall(guide):
            if f"{package}.{path.replace('/', '.')}" not in tree:
                yield f"{package}: its docstring names {path}.py, which is not there"


Rule = Callable[[Tree], Iterator[str]]

# Every rule with a small tree that breaks it and nothing else.
LONG = "\n".join(["def f() -> None:", *["    pass"] * (FUNCTION_LINES + 1)])
RULES: list[tuple[Rule, dict[str, str]]] = [
    (modules_without_a_place, {"newcomer": ""}),
    (
        imports_that_point_up,
        {"model.records": "from ..client.client import X", "client.client": ""},
    ),
    (
        imports_that_point_up,
        {"foundations.ids": "import worchflow.model.records", "model.records": ""},
    ),
    (
        imports_that_point_up,
        {"engine.runner": "from ..storage.sqlite import x", "storage.sqlite.x": ""},
    ),
    (
        imports_that_point_up,
        {
            "client.client": "from ..storage.sqlite.backend import B",
            "storage.sqlite.backend": "",
        },
    ),
    (
        imports_that_point_up,
        {
            "storage.sqlite.steps": "from ..redis_mongo.keys import x",
            "storage.redis_mongo.keys": "",
        },
    ),
    (
        imports_that_point_up,
        {
            "client.client": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from ..worker.worcher import Worcher"
            ),
            "worker.worcher": "",
        },
    ),
    (
        imports_that_point_up,
        {
            "storage.contract.backend": "from ...definitions.events import E",
            "definitions.events": "",
        },
    ),
    (imports_of_the_root, {"client.client": "from worchflow import Event"}),
    (imports_of_the_root, {"client.client": "from .. import __version__"}),
    (imports_of_the_root, {"worker.claims": "import worchflow"}),
    (
        import_cycles,
        {
            "model.records": "from .settlement import S",
            "model.settlement": "from . import records",
        },
    ),
    (
        hidden_imports,
        {
            "client.client": "def f() -> None:\n    from ..model.ids import x",
            "model.ids": "",
        },
    ),
    (drivers_outside_storage, {"client.client": "import redis.asyncio"}),
    (drivers_outside_storage, {"model.records": "from bson import Int64"}),
    (
        drivers_outside_storage,
        {
            "engine.runner": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    import sqlite3"
            )
        },
    ),
    (
        drivers_that_every_user_pays_for,
        {"storage.contract.backend": "from pymongo import errors"},
    ),
    (machine_without_the_runtime, {"engine.runner": "import time"}),
    (machine_without_the_runtime, {"engine.runner": "from uuid import UUID, uuid4"}),
    (
        machine_without_the_runtime,
        {"worker.lease": "from datetime import datetime\nnow = datetime.now()"},
    ),
    (
        system_runtime_where_a_backend_has_one,
        {
            "foundations.runtime": "SYSTEM = 1",
            "worker.lease": "from ..foundations.runtime import SYSTEM\nx = SYSTEM",
        },
    ),
    (names_that_say_nothing, {"engine.step_utils": ""}),
    (names_that_say_nothing, {"engine.common.x": ""}),
    (long_modules, {"client.client": "\n" * MODULE_LINES}),
    (long_functions, {"client.client": LONG}),
    (missing_annotations, {"client.client": "def f(a: int, *b) -> None: ..."}),
    (missing_annotations, {"client.client": "def f(a: int): ..."}),
    (packages_without_a_guide, {"engine.__init__": '"""Runs executions."""'}),
    (
        packages_without_a_guide,
        {"engine.__init__": '"""It imports x. Start with `gone.py`."""'},
    ),
]
ALL_RULES = list(dict.fromkeys(rule for rule, _ in RULES))

SOUND = {
    "foundations.errors": "",
    "model.records": "from ..foundations.errors import E\nimport redistribute",
    "storage.contract.backend": "from ...model.records import R",
    "storage.choice": (
        "from .contract.backend import B\n"
        "def open_backend() -> B:\n    from .sqlite.backend import S"
    ),
    "storage.sqlite.backend": "import sqlite3\nfrom ..contract.backend import B",
    "engine.runner": (
        "from worchflow.storage.contract.backend import B\n"
        "from uuid import UUID\n"
        "from ..foundations import errors"
    ),
    "ledger.writing": "import time",
    "client.__init__": '"""One thing.\n\nIt imports x. Start with `handle.py`.\n"""',
    "client.handle": "from worchflow.engine.runner import R",
    "client.client": (
        "from typing import TYPE_CHECKING\nfrom .handle import H\n"
        "if TYPE_CHECKING:\n    from redis.asyncio import Redis"
    ),
    "app": (
        "from .client import client\nclass A:\n    def f(self, *, a: int) -> None: ..."
    ),
    "cli.main": "def main() -> None:\n    from ..app import A",
}


def made_up(sources: dict[str, str]) -> Tree:
    return {name: Module(name, source) for name, source in sources.items()}


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.__name__)
def test_the_library_has_no(rule: Rule) -> None:
    assert list(rule(read_tree())) == []


@pytest.mark.parametrize(("rule", "sources"), RULES)
def test_a_rule_reports_a_breach_and_the_others_do_not(
    rule: Rule, sources: dict[str, str]
) -> None:
    tree = made_up(sources)

    assert {r for r in ALL_RULES if list(r(tree))} == {rule}


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.__name__)
def test_a_sound_tree_breaks_no(rule: Rule) -> None:
    assert list(rule(made_up(SOUND))) == []


def test_the_table_of_groups_is_itself_without_cycles() -> None:
    graph = {name: group.uses for name, group in GROUPS.items()}

    assert set(TopologicalSorter(graph).static_order()) == set(GROUPS)


def test_importing_the_library_loads_no_driver_and_no_optional_package() -> None:
    unwanted = sorted((DRIVERS - {"hiredis"}) | {"typer", "rich", "starlette"})
    code = f"import sys, worchflow; print(*sys.modules.keys() & set({unwanted}))"

    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    assert result.stdout.split() == []
