"""The peer that our speed is compared with computes the same function; needs PyTorch, which is an extra."""

import pytest

pytest.importorskip("torch")

from experiments.benchmark_sides import Case, same_function
from experiments.restoration_step import restoration_step
from experiments.timing import in_turn


@pytest.mark.parametrize("depthwise", [True, False])
def test_the_pytorch_peer_computes_the_same_function(depthwise):
    differences = same_function(Case(depthwise=depthwise))
    assert max(differences.values()) < 1e-4
    assert min(differences.values()) > 0  # two programs, not one compared with itself


def test_timings_are_taken_in_turn_after_a_round_to_warm_up():
    calls = []
    seconds = in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert "".join(calls) == "abababab"
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_step_that_repairs_takes_longer_than_its_damage():
    step = restoration_step(1, size=32, width=2)
    assert (step["size"], step["batch"]) == (32, 16)
    assert step["images_per_second"] > 0
    assert 0 < step["damage_share"]["low"] == step["damage_share"]["median"] < 1
