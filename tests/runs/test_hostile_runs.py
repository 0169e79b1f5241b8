"""Run folders that somebody else wrote: whatever their files hold, a command ends with 0 or with 2 and a reason."""

import ast
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import CONFIG, make_split, write_run

import sagan_jax
from sagan_jax import run_folder
from sagan_jax.errors import UserError
from sagan_jax.exit_codes import guarded
from sagan_jax.report.page import page
from sagan_jax.runs.describe import describe
from sagan_jax.runs.model import load_model

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400) | st.just("<script>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FILES = ("config.json", "result.json", "metrics.jsonl", "gallery.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_run(folder, make_split())
    (folder / "checkpoints").mkdir()
    result = json.loads((folder / "result.json").read_text())
    result |= {"train_seconds": 1.0, "device": "cpu"}
    result["provenance"] |= {"date": "today", "packages": {"sagan-jax": "1", "jax": "1", "flax": "1"}}
    (folder / "result.json").write_text(json.dumps(result))
    assert read_by_all(folder) == [0, 0]
    return folder


@contextlib.contextmanager
def instead(folder, name, content):
    """A file of the folder with another content, for a while."""
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(content)
    try:
        yield
    finally:
        (folder / name).write_bytes(before)


def places(values, path=()):
    """Every place in nested values, as the keys that lead there."""
    children = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


def read_by_all(folder):
    """The exit codes of what reads a run's folder."""
    return [guarded(lambda: page(folder) and None), guarded(lambda: describe(folder) and None)]


@given(name=st.sampled_from(FILES), place=st.integers(0, 2**16), remove=st.booleans(), value=ANY)
@settings(max_examples=50)
def test_a_value_of_any_kind_at_any_place_of_any_file_is_told_of_or_shown(folder, name, place, remove, value):
    text = (folder / name).read_text()
    lines = text.splitlines() if name == "metrics.jsonl" else [text]
    values = json.loads(lines[-1])
    there = list(places(values))
    *above, last = there[place % len(there)]
    inner = values
    for key in above:
        inner = inner[key]
    if remove:
        del inner[last]
    else:
        inner[last] = value
    with instead(folder, name, "\n".join([*lines[:-1], json.dumps(values)]).encode()):
        assert set(read_by_all(folder)) <= {0, 2}
        with pytest.raises(UserError):  # it has no checkpoints
            load_model(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff\xfe", b"[" * 100_000, b"null", b"[1, 2]", b'{"epoch": 1e999}', b'{"a": NaN}', b"9" * 5000],
    ids=["empty", "no text", "nested without end", "null", "a list", "infinite", "NaN", "a huge number"],
)
def test_a_file_of_anything_else_is_told_of_by_name(folder, name, content, capsys):
    with instead(folder, name, content):
        codes = read_by_all(folder)
    said = capsys.readouterr().err
    assert set(codes) <= {0, 2}
    assert codes == [0, 0] or str(folder) in said
    if name == "config.json":
        assert codes == [2, 2]


def test_what_is_no_file_that_a_run_writes_is_not_read(folder, tmp_path, monkeypatch):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(UserError, match=r"result\.json is not a file that a run writes"):
        run_folder.read_json(tmp_path / "result.json")
    monkeypatch.setattr(run_folder, "LARGEST", 10)
    with pytest.raises(UserError, match=r"config\.json is not a file that a run writes"):
        run_folder.read_json(folder / "config.json")


@pytest.mark.parametrize(
    "line", ['{"loss": 1}', '{"epoch": "2"}', '{"epoch": 1}', '{"epoch": 2, "loss": "low"}', '{"epoch": 2, "x": [1]}']
)
def test_metrics_that_are_no_rising_list_of_numbers_are_refused_and_losing_them_is_offered(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"epoch": 1, "loss": 0.5}}\n{line}\n')
    with pytest.raises(UserError, match="move it away to continue without it"):
        run_folder.read_metrics(path)


def test_settings_of_absurd_size_are_refused_before_memory_is_asked_for(folder):
    huge = CONFIG | {"train_images": 10**12, "image_shape": [10**6, 10**6, 3]}
    with instead(folder, "config.json", json.dumps(huge).encode()), pytest.raises(UserError):
        load_model(folder)


def calls(tree):
    """Every call in a module: the dotted name of what is called, and the names and values of its keywords."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            yield ast.unparse(node.func), keywords


def imports(tree):
    """The top-level packages a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


ROOT = Path(sagan_jax.__file__).parent.parent
MODULES = sorted([*ROOT.glob("sagan_jax/**/*.py"), *ROOT.glob("experiments/**/*.py")])
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_can_run_code(path):
    tree = ast.parse(path.read_text())
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {
        node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    assert not imported & PICKLES
    for name, keywords in calls(tree):
        assert name not in RUNS_CODE, name
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle") == "False", "np.load without allow_pickle=False"
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", "torch.load without weights_only=True"
        assert name not in ("yaml.load", "os.system"), name
        assert keywords.get("shell") != "True", f"{name} by a shell"
