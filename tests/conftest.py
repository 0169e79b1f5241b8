"""What every test runs under: the CPU, no silent rank promotion, shapes and types checked at run time."""

import gc
import os
import tempfile

import hypothesis
import jaxtyping
import pytest

# Equal programs are compiled once a session. A folder of this session's own: entries are not written
# atomically, so two sessions must not share one.
_compilations = tempfile.TemporaryDirectory(prefix="sagan-jax-compilations-")

# In the environment, before JAX is imported, so that the commands some tests start inherit all of it.
os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": _compilations.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_PLATFORMS": "cpu",
    "MPLBACKEND": "agg",
}

# While the tests run, each function of the package checks its arguments and its result against its annotations.
jaxtyping.install_import_hook("sagan_jax", "beartype.beartype")

# The first example pays for compilation, so no deadline; the same examples in every run, and no database of them.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")


def pytest_unconfigure() -> None:
    _compilations.cleanup()


@pytest.fixture(scope="module", autouse=True)
def _compiled_for_this_file_alone():
    """Compiled programs go when a file of tests ends.

    Each holds mappings of memory, of which a process may have 65,530 on Linux by default; past that it is aborted.
    """
    yield
    import jax

    jax.clear_caches()
    gc.collect()


@pytest.fixture
def key():
    """A fixed random key: `jax.random.key(0)`."""
    import jax

    return jax.random.key(0)
