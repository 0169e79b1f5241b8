"""One name is one thing: no public name is defined at the top of two modules."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {"main"}  # each experiment and the command line have one


def defined(module):
    """The public names that a module defines at its top: functions, classes and constants."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_a_public_name_is_defined_once():
    homes = defaultdict(set)
    for module in [*ROOT.glob("sagan_jax/**/*.py"), *ROOT.glob("experiments/**/*.py")]:
        for name in defined(module):
            if not name.startswith("_") and name not in COMMANDS:
                homes[name].add(str(module.relative_to(ROOT)))
    assert len(homes) > 300
    assert {name: sorted(modules) for name, modules in homes.items() if len(modules) > 1} == {}
