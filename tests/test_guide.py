"""The guide's code runs as it stands there, and the reference is made from docstrings without a warning."""

import contextlib
import html
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parent.parent / "docs" / "guide.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def said():
    """What the guide's blocks print, run one after the other as one program."""
    printed = io.StringIO()
    names = {"__name__": "guide"}
    with contextlib.redirect_stdout(printed):
        for number, block in enumerate(BLOCKS, start=1):
            exec(compile(block, f"docs/guide.md, block {number}", "exec"), names)
    return printed.getvalue()


def test_the_guides_detector_trains_and_tells_the_threes_from_the_rest(said):
    losses = [float(loss) for loss in re.findall(r"^epoch \d: loss ([\d.]+)", said, re.MULTILINE)]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 3
    assert re.search(r"^AUROC 0\.\d+ \[0\.\d+, 0\.\d+\]$", said, re.MULTILINE)
    assert "'report.html'" in said


def test_the_guides_new_detector_has_less_than_sixty_lines():
    detector = next(block for block in BLOCKS if "-> Detector" in block)
    lines = [line for line in detector.splitlines() if line.strip()]
    assert len(lines) < 60


def test_the_guides_python_has_the_projects_style(tmp_path):
    path = tmp_path / "guide.py"
    path.write_text("\n\n".join(BLOCKS))
    command = [sys.executable, "-m", "ruff", "format", "--check", "--line-length=120", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def test_the_reference_is_made_from_docstrings_without_a_warning_and_shows_shapes(tmp_path):
    flags = ["-W", "error:::pdoc.doc_types", "-m", "pdoc", "sagan_jax", "-o", str(tmp_path), "--docformat", "google"]
    made = subprocess.run([sys.executable, *flags], check=False, capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")
    page = html.unescape(re.sub(r"<[^>]+>", "", (tmp_path / "sagan_jax/judging/scoring.html").read_text()))
    assert "UInt8[ndarray, 'count height width channel']" in page
    assert "Any number of images; the last batch is padded" in page
