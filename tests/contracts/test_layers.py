"""Imports point only towards the ground: from a line of LAYERS to the lines above it, never down.

A new module gets its place here. Modules of one line do not import one another, but for those of a package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "queuey"

LAYERS = (
    # what all others may use
    "traceparent",
    "metrics errors models units ids keys memory_limit stopping store_url",
    "credentials idempotency retry schema_faults",
    "log records json_checks work signatures job_requests fingerprints",
    # settings: the only reader of the environment
    "setting_kinds",
    "setting_sources",
    "access",
    "settings",
    # the Python API: of programs that submit jobs, and of handlers
    "client",
    "job_functions",
    "registry",
    "__init__",
    "builtin",
    "tracing",
    # the store: nothing below these lines knows its commands or its keys
    "link replies",
    "shards scripts",
    "broker selfcheck waking events",
    "batching",
    "patience",
    # what the parts of a server do
    "feed",
    "observed followers",
    "acks producer submission jobs listing dead_letters queue_lengths health leases maintenance waiters progress",
    "lease_requests pull_workers polling",
    "roster",
    "queue_control dead_walk explaining",
    "dead_jobs",
    "executors",
    "execution runners running sending",
    "leasing lease_outcomes testing",
    "pulling",
    "worker remote_reports",
    "presence remote_worker",
    # the private Valkey
    "aof data_dir store_socket",
    "store_process",
    "embedded",
    # a store as a file
    "export_file",
    "exporting importing store_access",
    # what users meet
    "siblings",
    "api",
    "connections",
    "listener ports",
    "bounds",
    "doctor server",
    "replica",
    "supervisor",
    "cli",
    "__main__",
)
LATE = {("registry", "testing")}
"""Imports that point down: an App offers what tests of its handlers need, and reads it when it is asked for."""
LEVEL = {module: level for level, line in enumerate(LAYERS) for module in line.split()}
PATHS = sorted(PACKAGE.rglob("*.py"))

STORE = {"link", "shards", "scripts", "broker", "selfcheck", "waking", "events", "server"}
"""Those that may import the Redis client: the lines of the store, and the composition root, which makes the clients."""


def module_of(path: Path) -> str:
    """`api/jobs.py` and `api/__init__.py` are of `api`; `keys.py` is `keys`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module of ours) of every import of our own; what the package itself offers is of `__init__`."""
    for line, name in imports(path):
        package, _, rest = name.partition(".")
        if package == "queuey":
            module = rest.partition(".")[0]
            yield line, module if module in LEVEL else "__init__"


def shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", PATHS, ids=shown)
def test_imports_point_towards_the_ground(path: Path) -> None:
    module = module_of(path)
    assert module in LEVEL, f"give {module} its place in LAYERS"
    for line, imported in own_imports(path):
        upwards = LEVEL[imported] < LEVEL[module] or imported == module or (module, imported) in LATE
        assert upwards, f"line {line}: {module} imports {imported}"


def test_no_module_is_named_twice() -> None:
    assert len(LEVEL) == sum(len(line.split()) for line in LAYERS)


@pytest.mark.parametrize("path", PATHS, ids=shown)
def test_one_module_reads_the_environment(path: Path) -> None:
    names = {"environ", "environb", "getenv", "getenvb"}
    used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    used |= {name.rpartition(".")[2] for _, name in imports(path)}
    assert bool(used & names) == (module_of(path) == "settings")


@pytest.mark.parametrize("path", PATHS, ids=shown)
def test_only_the_store_knows_the_redis_client(path: Path) -> None:
    uses = any(name.partition(".")[0] == "redis" for _, name in imports(path))
    assert not uses or module_of(path) in STORE


def test_the_client_imports_the_wire_format_alone() -> None:
    """Nothing of the server: a program that submits jobs need not load it."""
    for path in (PACKAGE / "client").glob("*.py"):
        assert {imported for _, imported in own_imports(path)} <= {
            "client",
            "models",
            "ids",
            "job_requests",
            "traceparent",
        }


def test_executors_know_nothing_of_the_store() -> None:
    """They run in processes of their own, which have no connection."""
    for path in (PACKAGE / "executors").glob("*.py"):
        for _, imported in own_imports(path):
            assert imported == "executors" or LEVEL[imported] < LEVEL["shards"]


def test_packages_have_no_cycles() -> None:
    """Within a package too, each file can be read after those that it imports."""
    for package in ("api", "cli", "client", "executors"):
        needs = {
            path.stem: {name.split(".")[2] for _, name in imports(path) if name.startswith(f"queuey.{package}.")}
            for path in (PACKAGE / package).glob("*.py")
        }
        while needs:
            free = {name for name, needed in needs.items() if not needed & needs.keys()}
            assert free, f"a cycle in {package}: {needs}"
            needs = {name: needed for name, needed in needs.items() if name not in free}
