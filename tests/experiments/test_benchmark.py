"""The peer that our speed is compared with computes the same function; needs PyTorch, which is an extra."""

import pytest

pytest.importorskip("torch")

from experiments.benchmark import Case, in_turn, same_function


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
