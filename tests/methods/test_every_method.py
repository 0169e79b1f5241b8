"""What holds for every method, and how many parameters each has."""

import dataclasses
from itertools import chain
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sagan_jax
from experiments.digits import main
from sagan_jax.detector import check_scored
from sagan_jax.errors import UserError
from sagan_jax.judging.scoring import reference_protocol_scores, score_images
from sagan_jax.methods.table import METHODS, find_method
from sagan_jax.ops.native import KERNELS, registered

EVERY = pytest.mark.parametrize("method", METHODS)
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 1), np.uint8)


def small(method, steps=None, **changes):
    """The method with narrow networks."""
    config = METHODS[method].presets["paper"]
    if method == "anogan":
        config = dataclasses.replace(config, search_steps=3)
    config = dataclasses.replace(config, width=4, latent_size=8, **changes)
    return METHODS[method].build(config, steps)


def shapes(detector, image_shape, batch=2):
    """The state, the state and metrics after a step, and scores, without computing them."""
    key, images = jax.random.key(0), jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    state = jax.eval_shape(lambda key: detector.init(key, image_shape), key)
    return state, *jax.eval_shape(detector.update, state, images, key), jax.eval_shape(detector.score, state, images)


def count(method, preset="paper", image_shape=(32, 32, 3)):
    """Parameters of each network of the method's state."""
    detector = METHODS[method].build(METHODS[method].presets[preset], None)
    state = jax.eval_shape(lambda key: detector.init(key, image_shape), jax.random.key(0))
    players = {name: player for name, player in state._asdict().items() if hasattr(player, "params")}
    return {name: sum(leaf.size for leaf in jax.tree.leaves(player.params)) for name, player in players.items()}


@EVERY
def test_a_method_is_found_by_its_name_and_has_the_batch_size_of_its_authors(method):
    sizes = {"sagan": 32, "skip_ganomaly": 64, "ganomaly": 64, "egbad": 100, "anogan": 64}
    assert find_method(method) is METHODS[method]
    assert find_method(method).batch_size == sizes[method]


def test_a_method_of_ones_own_is_found_by_its_module_and_another_name_is_refused(tmp_path, monkeypatch):
    assert find_method("mean_detector:METHOD").name == "mean"
    monkeypatch.chdir(tmp_path)
    for wrong, why in (
        ("sagann", "one of sagan, skip_ganomaly"),
        ("nowhere:METHOD", "cannot be imported"),
        ("mean_detector:MEAN", "is not a sagan_jax.methods.table.Method"),
    ):
        with pytest.raises(UserError, match=why):
            find_method(wrong)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("sagan", {"generator": 4_032_335, "discriminator": 1_069_700}),
        ("skip_ganomaly", {"generator": 16_659_075, "discriminator": 1_069_700}),
        ("ganomaly", {"generator": 3_206_528, "discriminator": 663_296}),
        ("egbad", {"generator": 8_755_328, "encoder": 1_732_232, "discriminator": 4_892_289}),
        ("anogan", {"generator": 1_068_928, "discriminator": 663_296}),
    ],
)
def test_parameters_are_as_many_as_the_docstring_says(method, expected):
    assert count(method) == expected
    docstring = Path(sagan_jax.__path__[0], "methods", f"{method}.py").read_text(encoding="utf-8").split('"""')[1]
    assert all(f"{number:,}" in docstring for number in expected.values())


@EVERY
@pytest.mark.parametrize(
    ("size", "channels"),
    [(64, 1), pytest.param(32, 3, marks=pytest.mark.slow), pytest.param(128, 3, marks=pytest.mark.slow)],
)
def test_a_step_gives_back_the_very_types_it_takes_and_a_score_an_image(method, size, channels):
    """Or the second step would be compiled anew: weak types count."""
    state, new, metrics, scores = shapes(small(method, steps=10), (size, size, channels))
    for old_leaf, new_leaf in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True):
        assert (old_leaf.shape, old_leaf.dtype, old_leaf.weak_type) == (
            new_leaf.shape,
            new_leaf.dtype,
            new_leaf.weak_type,
        )
    assert all(metric.shape == () for metric in metrics.values())
    assert scores.total.shape == scores.reconstruction.shape == scores.latent.shape == (2,)
    assert scores.map.shape == (2, size, size)
    assert scores.reconstructed.shape == (2, size, size, channels)


@EVERY
def test_bf16_arithmetic_leaves_parameters_statistics_and_scores_in_float32(method):
    results = shapes(small(method, precision="bf16"), (16, 16, 1))
    floats = [leaf for leaf in jax.tree.leaves(results) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype(jnp.float32)}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "preset"), [*((method, "paper") for method in METHODS), ("sagan", "inspection")])
def test_a_step_and_a_score_are_lowered_for_gpus_without_the_kernels_of_cpus(method, preset):
    config = dataclasses.replace(METHODS[method].presets[preset], width=4, latent_size=8)
    detector = METHODS[method].build(config, None)
    key, images = jax.random.key(0), jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    state = jax.eval_shape(lambda key: detector.init(key, images.shape[1:]), key)
    for program, operands in ((detector.update, (state, images, key)), (detector.score, (state, images))):
        traced = jax.jit(program).trace(*operands)
        lowered = [traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cuda", "cpu")]
        called = [any(kernel in text for kernel in chain(*KERNELS.values())) for text in lowered]
        assert called == [False, registered()]


@EVERY
@pytest.mark.parametrize("shape", [(48, 48, 3), (40, 40, 3), (32, 64, 3), (8, 8, 3)])
def test_a_size_the_networks_cannot_take_is_refused(method, key, shape):
    with pytest.raises(UserError, match=rf"images are {shape[0]}x{shape[1]}; they must be square, .*from 16 up"):
        small(method).init(key, shape)


@EVERY
def test_channels_other_than_grey_and_rgb_are_refused(method, key):
    with pytest.raises(UserError, match=r"4 channels; 1 \(grey\) and 3 \(RGB\)"):
        small(method).init(key, (32, 32, 4))


@EVERY
def test_strict_scores_do_not_depend_on_the_company_an_image_keeps(method, key):
    detector = small(method)
    state = detector.init(key, (16, 16, 1))
    together = score_images(detector, state, IMAGES, batch_size=4)
    order = np.random.default_rng(1).permutation(len(IMAGES))
    apart = score_images(detector, state, IMAGES[order], batch_size=4)
    np.testing.assert_array_equal(apart.total, together.total[order])
    leaking = reference_protocol_scores(detector, state, IMAGES, batch_size=4)
    assert np.abs(leaking.total - together.total).max() > 1e-6


@pytest.mark.parametrize(
    "method",  # sagan's run: test_run.py
    [
        pytest.param(method, marks=[] if method == "ganomaly" else pytest.mark.slow)
        for method in METHODS
        if method != "sagan"
    ],
)
def test_a_method_goes_from_the_command_line_to_a_result_and_on_from_there(method, tmp_path, capsys):
    flags = [f"--method={method}", "--abnormal=3", "--size=16", "--width=4", "--latent-size=8", "--batch-size=256"]
    flags += ["--epochs=1", "--protocol=both", f"--out={tmp_path / 'run'}"]
    flags += ["--search-steps=2"] if method == "anogan" else []
    assert main(flags) == 0
    assert f"{method}, epoch 1 of 1" in (printed := capsys.readouterr().out)
    assert main([*flags, "--resume"]) == 0  # from the checkpoint: nothing is left to train
    assert capsys.readouterr().out == printed


@EVERY
def test_bytes_that_nobody_normalised_are_refused(method, key):
    detector = small(method)
    state = jax.eval_shape(lambda key: detector.init(key, (16, 16, 1)), key)
    for program, operands in ((detector.update, (state, IMAGES, key)), (detector.score, (state, IMAGES))):
        with pytest.raises(UserError, match="dtype is 'uint8'; it must be floats"):
            jax.eval_shape(program, *operands)


def test_statistics_that_there_are_none_of_are_refused():
    with pytest.raises(UserError, match="statistics is 'Batch'; it must be one of running, batch"):
        check_scored("Batch", jnp.zeros(1))
