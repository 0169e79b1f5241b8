"""What the documentation names exists: links, headings, modules, files, and commands."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

LINK = re.compile(r"\]\(([^)\s]+)\)")
DOTTED = re.compile(r"(?<![\w./-])(?:sagan_jax|experiments)(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(r"(?<![\w./-])(?:sagan_jax|experiments|tests|examples|docs)/[\w./-]*\w")


def source(dotted: str) -> Path | None:
    """The file of a module or package of the project; None if there is none."""
    path = ROOT.joinpath(*dotted.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module of the project, or is defined at the top of one. Nothing is imported."""
    if source(dotted):
        return True
    parent, _, name = dotted.rpartition(".")
    module = source(parent)
    return module is not None and any(name in names(node) for node in ast.parse(module.read_text("utf-8")).body)


def names(node: ast.AST) -> set[str]:
    """The names that a statement at the top of a module defines, those in an `if` or in `__getattr__` among them."""
    if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
        return {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.If):
        return {name for child in node.body for name in names(child)}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return {leaf.id for leaf in ast.walk(node) if isinstance(leaf, ast.Name)}
    return set()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_name_of_the_project_exists(page):
    assert [name for name in sorted(set(DOTTED.findall(page.read_text(encoding="utf-8")))) if not exists(name)] == []


def test_every_module_and_name_in_the_docstrings_exists():
    sources = [path for package in ("sagan_jax", "experiments") for path in (ROOT / package).rglob("*.py")]
    quoted = {name for path in sources for name in re.findall(f"`({DOTTED.pattern})", path.read_text(encoding="utf-8"))}
    assert quoted
    assert [name for name in sorted(quoted) if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_in_the_text_exists(page):
    files = set(FILE.findall(page.read_text(encoding="utf-8")))
    made_by_commands = {"experiments/results/growth", "experiments/results/NAME.csv"}  # with `--out=`
    assert [file for file in sorted(files - made_by_commands) if not (ROOT / file).exists()] == []


def test_names_that_do_not_exist_are_found():
    assert not exists("sagan_jax.scoring")
    assert not exists("sagan_jax.detector.Nothing")
    assert not exists("sagan_jax.detector.Detector.nothing.else")
    assert exists("sagan_jax.detector.Detector")
    assert exists("sagan_jax.load_torch")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_python_blocks_import_exists(page):
    imported = set()
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("sagan_jax", "experiments")):
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert [name for name in sorted(imported) if not exists(name)] == []


def test_every_page_is_in_the_index():
    listed = set(LINK.findall((ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages - listed == set()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
