"""Which package may import which: from a line of LAYERS to the lines above it, never down, and no circle anywhere.

Inside a package any module may import any other, as long as no circle comes of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "queuey"

LAYERS = (
    "version errors metrics lifecycle forks loops streams",
    "protocol",
    "log",
    "client models service_manager",
    "settings",
    "store",
    "services",
    "worker",
    "integrations",
    "api",
    "__init__",
    "server",
    "cli",
    "__main__",
)
LEVEL = {name: level for level, line in enumerate(LAYERS) for name in line.split()}
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}


def layer(module: str) -> str:
    """`queuey.api.http.body` belongs to `api`; what the package itself offers belongs to `__init__`."""
    return [*module.split("."), "__init__"][1]


def imports(module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, also of those inside functions."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def own_imports(module: str) -> Iterator[tuple[int, str]]:
    """(line, module of ours) of every import of our own."""
    for line, name in imports(module):
        if name.partition(".")[0] == "queuey":
            yield line, name if name in FILES else name.rpartition(".")[0]


def modules_of(package: str) -> list[str]:
    return [module for module in FILES if module.startswith(f"queuey.{package}.")]


@pytest.mark.parametrize("module", FILES)
def test_imports_point_towards_the_ground(module: str) -> None:
    assert layer(module) in LEVEL, f"give {layer(module)} its place in LAYERS"
    for line, target in own_imports(module):
        assert LEVEL[layer(target)] <= LEVEL[layer(module)], f"line {line}: {module} imports {target}"


def test_no_package_is_named_twice() -> None:
    assert len(LEVEL) == sum(len(line.split()) for line in LAYERS)


def test_there_is_no_circle() -> None:
    needs = {module: {target for _, target in own_imports(module)} - {module} for module in FILES}
    while needs:
        free = {module for module, needed in needs.items() if not needed & needs.keys()}
        assert free, f"a circle among {sorted(needs)}"
        needs = {module: needed for module, needed in needs.items() if module not in free}


@pytest.mark.parametrize("module", FILES)
def test_one_module_reads_the_environment(module: str) -> None:
    """Besides, clients read their URL and key, since they import nothing of the settings."""
    names = {"environ", "environb", "getenv", "getenvb"}
    used = {node.attr for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute)}
    used |= {name.rpartition(".")[2] for _, name in imports(module)}
    assert bool(used & names) == (module in ("queuey.settings.settings", "queuey.client.client"))


@pytest.mark.parametrize("module", FILES)
def test_only_the_store_knows_the_redis_client(module: str) -> None:
    """The server imports it too, since it makes the clients."""
    uses = any(name.partition(".")[0] in ("redis", "hiredis") for _, name in imports(module))
    assert not uses or layer(module) in ("store", "server")


def test_the_client_imports_the_protocol_alone() -> None:
    """A program that submits jobs need not load anything of the server. `loops` and `forks` need only Python."""
    for module in modules_of("client"):
        allowed = {"client", "forks", "loops", "protocol"}
        assert {layer(target) for _, target in own_imports(module)} <= allowed, module


def test_the_package_does_not_import_its_pytest_plugin_or_pytest() -> None:
    """The plugin is beside the package, so that pytest imports nothing of Queuey before a test uses it."""
    for module in FILES:
        roots = {name.partition(".")[0] for _, name in imports(module)}
        assert not roots & {"pytest", "_pytest", "pytest_asyncio", "pytest_queuey"}, module


def test_executors_know_nothing_of_the_store() -> None:
    """They run in processes of their own, which have no connection."""
    for module in modules_of("worker.executors"):
        forbidden = {"store", "services", "settings", "client"}
        assert not {layer(target) for _, target in own_imports(module)} & forbidden, module


def test_one_module_of_the_worker_knows_the_settings() -> None:
    """Its parts take small settings of their own, made by `of(settings)`."""
    for module in modules_of("worker"):
        knows = "settings" in {layer(target) for _, target in own_imports(module)}
        assert knows == (module == "queuey.worker.settings"), module
