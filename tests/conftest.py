"""What every test runs under: the CPU, no silent rank promotion, shapes and types checked at run time."""

import gc
import math
import os
import signal
import tempfile
from pathlib import Path

import hypothesis
import jaxtyping
import pytest

# In the environment, before JAX is imported, so that the workers and the commands that tests start inherit all of it.
# Equal programs are compiled once a session: all its processes share one folder, which the first makes and removes.
_compilations = None
if "PYTEST_XDIST_WORKER" not in os.environ:
    _compilations = tempfile.TemporaryDirectory(prefix="sagan-jax-compilations-")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": _compilations.name,
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(8 << 30),  # of any size, or JAX reads and writes without a lock
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_PLATFORMS": "cpu",
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",  # the workers take the cores; threads that spin while they wait would take them away
        "OPENBLAS_NUM_THREADS": "1",
        # Most programs run once or twice: a fifth of the time to compile them is worth more than their speed.
        "XLA_FLAGS": " ".join(
            [
                *os.environ.get("XLA_FLAGS", "").split(),
                "--xla_backend_optimization_level=0",
                "--xla_cpu_use_fusion_emitters=false",
                "--xla_cpu_parallel_codegen_split_count=1",
            ]
        ),
    }

# While the tests run, each function of the package checks its arguments and its result against its annotations.
jaxtyping.install_import_hook("sagan_jax", "beartype.beartype")

# The first example pays for compilation, so no deadline; the same examples in every run, and no database of them.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")

# A shell that starts a job in the background has it ignore Ctrl-C, and its children inherit that: the tests of what
# Ctrl-C leaves behind would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each compiled program holds mappings of memory, of which a process may have 65,530 on Linux by default; past that it
# is aborted. A file of tests adds far fewer than what is left above this number.
MAPPINGS = 20_000


def pytest_collection_finish() -> None:
    """What the imports made stays to the end, so garbage collections need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure() -> None:
    if _compilations is not None:
        _compilations.cleanup()


def _mappings() -> int:
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_go_before_there_are_too_many():
    yield
    if _mappings() > MAPPINGS:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="module", autouse=True)
def _denormal_numbers_stay_numbers():
    """PyTorch can have the processor take them as zero, which every later test of this process would then see."""
    yield
    assert math.ulp(0.0) > 0


@pytest.fixture(scope="module", autouse=True)
def figures_stay_empty():
    """Drawing a run's figures is half of what a small run takes; tests that look at them put another fixture here."""
    from sagan_jax.report import gallery, plots

    def save_nothing(figure, path: Path) -> None:
        path.touch()

    with pytest.MonkeyPatch.context() as patch:
        for module in (gallery, plots):
            patch.setattr(module, "save_figure", save_nothing)
        yield


@pytest.fixture
def key():
    """A fixed random key: `jax.random.key(0)`."""
    import jax

    return jax.random.key(0)
