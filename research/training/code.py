"""Which code makes a result: this package as it was imported, and the user's own code that an experiment uses."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import research
from research.data.cache import cache_dir
from research.spec import Spec
from research.spec.values import field_annotations

# Read when the package is imported: a file that is edited while a process runs is not the code that runs.
_PACKAGE = tuple(
    (str(path.relative_to(Path(research.__file__).parent)), path.read_bytes())
    for path in sorted(Path(research.__file__).parent.rglob("*.py"))
    if path.name != "cli.py"
)
_INSTALLED = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib"))


def code_hash(experiment: Spec) -> tuple[str, tuple[str, ...]]:
    """Hash of the code behind an experiment, which comments, docstrings and asserts do not change.

    It covers this package and every module outside installed packages that defines a class or function of the
    experiment, with the modules of that kind which those import.

    Returns:
        Twelve hexadecimal digits, and the names of classes whose source cannot be read, so that a change of theirs
        would go unnoticed.
    """
    digest = hashlib.sha256(_package_meaning())
    unreadable = []
    for name in sorted(_own_modules(experiment)):
        source = _source(sys.modules.get(name))
        if source is None:
            source = "\n".join(
                _definition(part) or "" for part in _parts(experiment) if part.__module__ == name
            ).encode()
            unreadable += [p.__qualname__ for p in _parts(experiment) if p.__module__ == name and not _definition(p)]
        digest.update(name.encode() + _meaning(source))
    return digest.hexdigest()[:12], tuple(dict.fromkeys(unreadable))


def _parts(value: Any) -> Iterator[Any]:
    """Every class and function that an experiment is made of, base classes included."""
    if isinstance(value, Spec):
        yield from _bases(type(value))
        for name in field_annotations(type(value)):
            yield from _parts(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, type):
        yield from _bases(value)
    elif callable(value) and hasattr(value, "__qualname__"):
        yield value


def _bases(cls: type) -> Iterator[type]:
    yield from (base for base in cls.__mro__ if base is not object)


def _own_modules(experiment: Any) -> set[str]:
    """Names of the user's modules behind an experiment, followed through what they import."""
    found: set[str] = set()
    waiting = [part.__module__ for part in _parts(experiment)]
    while waiting:
        name = waiting.pop()
        if name in found or not _is_own(name):
            continue
        found.add(name)
        waiting.extend(_imported(sys.modules[name]))
    return found


def _imported(module: ModuleType) -> Iterator[str]:
    """Names of the modules that a module imports, from its source, and of those that its names come from."""
    for value in list(vars(module).values()):
        yield value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", None) or "")
    try:
        tree = ast.parse(_source(module) or b"")
    except SyntaxError:
        return
    package = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            base = ".".join(part for part in ((above if node.level else ""), node.module or "") if part)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_own(name: str) -> bool:
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or name.split(".")[0] == "research" or name in sys.builtin_module_names:
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return name == "__main__"
    return not str(Path(file).resolve()).startswith(_INSTALLED)


def _source(module: ModuleType | None) -> bytes | None:
    file = getattr(module, "__file__", None)
    try:
        return Path(file).read_bytes() if file else None
    except OSError:
        return None


def _definition(part: Any) -> str | None:
    """The source of one class or function, as a notebook keeps it."""
    try:
        return inspect.getsource(part)
    except (OSError, TypeError):
        return None


@functools.cache
def _package_meaning() -> bytes:
    """Names and digests of this package's modules, kept on disk: to compile it all takes a third of a second."""
    text = hashlib.sha256(sys.version.encode())
    for name, source in _PACKAGE:
        text.update(f"{name} {len(source)} ".encode() + source)
    kept = cache_dir() / "code" / text.hexdigest()
    length = sum(len(name.encode()) + hashlib.sha256().digest_size for name, _ in _PACKAGE)
    with contextlib.suppress(OSError):
        # One that a killed process left half-written is made anew.
        if len(found := kept.read_bytes()) == length:
            return found
    found = b"".join(name.encode() + _meaning(source) for name, source in _PACKAGE)
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f".{kept.name}.{os.getpid()}")
        temporary.write_bytes(found)
        temporary.replace(kept)
    return found


@functools.cache
def _meaning(source: bytes) -> bytes:
    """Digest of what code does: its bytecode without docstrings, lines and asserts; of itself where it has none."""
    digest = hashlib.sha256()
    try:
        for part in _instructions(compile(source, "", "exec", dont_inherit=True, optimize=2)):
            digest.update(part.encode())
    except (SyntaxError, ValueError):
        return hashlib.sha256(source).digest()
    return digest.digest()


def _instructions(code: CodeType) -> Iterator[str]:
    """Everything of some bytecode, and of what is defined in it, but where in a file it stands."""
    names = (code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    yield repr((code.co_name, code.co_code, code.co_exceptiontable, names, counts))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)
        else:
            # Python shows the members of a set in an order that differs from process to process.
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
