"""The commands that are prepared for a GPU run: each of docs/gpu.md's, on a CPU, with the smallest settings."""

import csv
import importlib
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from mean_detector import MEAN, METHOD

from experiments import benchmark, plan, speed
from experiments.cards import PEAKS, flushed_denormals, peak
from experiments.paper import TABLES, Table
from experiments.record import read_table_rows
from experiments.variants import VARIANTS, Variant
from sagan_jax.errors import UserError
from sagan_jax.methods.sagan import sagan
from sagan_jax.methods.table import METHODS

PAGE = Path(__file__).parent.parent.parent / "docs" / "gpu.md"
COMMANDS = re.findall(r"^python -m experiments\.(\w+) (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
TINY = {
    "parity": ["--width=4", "--size=16", "--images=64", "--arithmetics", "tf32"],
    "benchmark": [
        "--cases",
        "main",
        "--rounds=1",
        "--no-compiled",
        "--arithmetics",
        "float32",
        "--epoch-images=128",
        "--models=2",
    ],
    "reproduce": ["--tables", "2", "--methods", "mean", "--epochs=1", "--train-images=150", "--test-images=20"],
}
DIGITS = Table("digits", "digits", ("3", "4"), {}, size=16, epochs=15, train_images=1271, test_images=526)


def run(name, flags):
    module = importlib.import_module(f"experiments.{name}")
    assert module.main([*shlex.split(flags), *TINY[name], "--device=cpu"]) == 0


def test_the_page_has_the_commands_that_are_rehearsed():
    assert {name for name, _ in COMMANDS} == set(TINY)


@pytest.mark.parametrize("method", ["mean", pytest.param("sagan", marks=pytest.mark.slow)])
def test_a_device_that_is_the_cpu_agrees_with_it(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if method == "mean":
        monkeypatch.setattr("sagan_jax.methods.sagan.sagan", lambda settings: MEAN)
    for name, flags in COMMANDS:
        if name == "parity":
            run(name, flags)
    with Path("results/parity.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["strict_difference"]) == float(row["batch_difference"]) == 0
    assert row["auroc"] == row["auroc_cpu"] == row["auroc_trained_here"]


def test_the_tables_are_planned_run_as_one_program_and_seeds_are_added(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TABLES, 2, DIGITS)
    monkeypatch.setitem(METHODS, "mean", METHOD)
    monkeypatch.setitem(VARIANTS, "mean", Variant("Mean", "mean"))
    monkeypatch.setattr(speed, "LEAST_SECONDS", 0.01)
    monkeypatch.setattr(plan, "on_cpu", lambda device: False)
    monkeypatch.setattr(
        plan, "measure_speed", lambda kind, models, scratch: speed.Speed(models, 1.0, 1e3 * models, 1e3, 0.1)
    )
    asked = []
    monkeypatch.setattr(plan, "device_memory", lambda: 10**9)
    monkeypatch.setattr(plan, "program_memory", lambda kind, models: asked.append((kind.shared, models)) or 10**7)
    for name, flags in COMMANDS:
        if name == "reproduce":
            run(name, flags)
    printed = capsys.readouterr().out
    assert "2 classes, seed 0, as one program" in printed
    assert {models for _, models in asked} == {2, 4}
    rows = read_table_rows(tmp_path / "results" / "runs" / "table2.csv")
    assert {(row.abnormal, row.seed) for row in rows} == {(name, seed) for name in "34" for seed in (0, 1, 2)}


@pytest.mark.slow
def test_the_benchmark_compares_times_an_epoch_and_many_models(tmp_path, monkeypatch):
    import json

    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)

    def narrow(measure):
        """What is measured, of a narrow SAGAN: the wide one compiles for minutes."""

        def measured(*arguments):
            with monkeypatch.context() as patched:
                build = lambda config, *steps: sagan(replace(config, width=2, latent_size=4), *steps)  # noqa: E731
                patched.setattr("sagan_jax.methods.sagan.sagan", build)
                return measure(*arguments)

        return measured

    for name in ("epoch_seconds", "many_models"):
        monkeypatch.setattr(benchmark, name, narrow(getattr(benchmark, name)))
    monkeypatch.setitem(benchmark.CASES, "main", benchmark.Case(batch=2, steps=1))
    monkeypatch.setattr(benchmark, "peak_memory", lambda side, case: 0)
    for name, flags in COMMANDS:
        if name == "benchmark":
            run(name, flags)
    result = json.loads(Path("results/benchmark.json").read_text())
    assert result["cases"][0]["case"]["arithmetic"] == "float32"
    assert set(result["epoch_seconds"]) == {"images", "float32"}
    assert set(result["many_models"]["float32"]) == {"alone", "map", "vmap"}


def test_denormals_are_zero_for_the_measurement_alone():
    pytest.importorskip("torch")
    with flushed_denormals():
        assert math.ulp(0.0) == 0
    assert math.ulp(0.0) > 0


def test_both_sides_multiply_float32_alike():
    torch = pytest.importorskip("torch")
    import jax

    from experiments.cards import use

    for arithmetic, exact in (("float32", True), ("tf32", False)):
        use(arithmetic)
        assert (jax.config.values["jax_default_matmul_precision"] == "highest") == exact
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (not exact)


def test_a_cards_peak_is_found_by_its_name_the_more_exact_one_first():
    assert peak("NVIDIA H100 80GB HBM3", "bf16") == 989.4
    assert peak("NVIDIA H100 PCIe", "bf16") == 756.0
    assert peak("cpu (2 cores)", "bf16") is None
    assert all(peaks["float32"] <= peaks["tf32"] <= peaks["bf16"] for _, peaks in PEAKS)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_an_accelerator_is_measured_in_every_arithmetic(on_cpu):
    chosen = benchmark.measured_cases(benchmark.Benchmark(), on_cpu)
    main = [case.arithmetic for case in chosen if (case.size, case.batch, case.depthwise) == (32, 64, True)]
    assert main == (["float32"] if on_cpu else ["float32", "tf32", "bf16"])
    assert len(chosen) == len(main) + len(benchmark.CASES) - 1


@pytest.mark.parametrize("settings", [{"cases": ()}, {"rounds": 0}])
def test_a_benchmark_of_nothing_is_refused(settings):
    with pytest.raises(UserError):
        benchmark.Benchmark(**settings)


def test_what_is_asked_for_beside_the_cases_is_measured_whichever_they_are():
    options = benchmark.Benchmark(cases=("restoration",), models=2)
    assert benchmark.measured_cases(options, on_cpu=True) == []
    assert benchmark.arithmetics_of(options, on_cpu=True) == ("float32",)
