"""Runs a program of ours with other values for some of its named constants, so that a test need not wait for them.

    python tests/constants.py '{"fanout.stomp.limits.CONNECT_SECONDS": 1}' server.py --test

The values are put into the source before a module runs, because a constant may be the default of an argument or of a
field. A constant that is not there is an error, so a test cannot keep the name of one that was renamed.
"""

from __future__ import annotations

import ast
import json
import runpy
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any


class _Loader(SourceFileLoader):
    """Loads one module from its source, with other constants."""

    def __init__(self, module: str, path: str, values: dict[str, Any]) -> None:
        super().__init__(module, path)
        self._values = values

    def get_code(self, fullname: str) -> Any:
        """Compiles it anew each time: the cached bytecode has the old values."""
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        left = dict(self._values)
        for statement in tree.body:
            target = _target(statement)
            if target in left:
                statement.value = ast.copy_location(ast.Constant(left.pop(target)), statement)  # type: ignore[attr-defined]
        if left:
            raise ImportError(f"{fullname} has no such constant: {', '.join(left)}")
        return compile(ast.fix_missing_locations(tree), path, "exec")


def _target(statement: ast.stmt) -> str:
    """The name that a statement at the top of a module assigns; empty for other statements."""
    target = statement.target if isinstance(statement, ast.AnnAssign) else None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


class _Finder(MetaPathFinder):
    """Finds the modules whose constants have other values."""

    def __init__(self, constants: dict[str, Any]) -> None:
        self._modules: dict[str, dict[str, Any]] = {}
        for name, value in constants.items():
            module, _, constant = name.rpartition(".")
            self._modules.setdefault(module, {})[constant] = value

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._modules else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._modules[fullname])
        return spec


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)
    sys.meta_path.insert(0, _Finder(json.loads(sys.argv[1])))
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")
