"""Each experiment's command line: what it knows, what it refuses."""

import importlib
import subprocess
import sys

import pytest

from experiments.datasets import CLASSES
from sagan_jax.flags import parse_as

NAMES = ("cifar", "digits", "fashion_mnist", "mnist", "tfds")


KINDS = {
    "cifar": ("Cifar", "cifar10"),
    "digits": ("Digits", "digits"),
    "fashion_mnist": ("FashionMnist", "fashion_mnist"),
    "mnist": ("Mnist", "mnist"),
}


def parse(name, argv):
    return parse_as(getattr(importlib.import_module(f"experiments.{name}"), KINDS[name][0]), name, argv)


def main(name, argv):
    return importlib.import_module(f"experiments.{name}").main(argv)


def test_cifar_knows_its_ten_classes_and_all():
    for name in ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck", "all"):
        assert parse("cifar", [f"--abnormal={name}"]).abnormal == name


@pytest.mark.parametrize("name", ["cifar", "digits", "fashion_mnist", "mnist"])
def test_an_unknown_class_or_flag_ends_with_2_and_the_allowed_values(name, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(name, ["--abnormal=nothing"])
    assert ended.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert all(f"'{known}'" in message.replace("│ ", "") for known in CLASSES[KINDS[name][1]])
    with pytest.raises(SystemExit) as ended:
        parse(name, [f"--abnormal={CLASSES[KINDS[name][1]][0]}", "--nonsense=1"])
    assert ended.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


def test_the_preset_sets_the_defaults_and_a_flag_overrides_it():
    reference = parse("cifar", ["--abnormal=cat", "--preset=reference", "--score-weight=0.5"]).model
    assert (reference.weight_reconstruction, reference.pool, reference.score_weight) == (50, "soft", 0.5)
    assert parse("cifar", ["--abnormal=cat"]).model.weight_reconstruction == 40


def test_an_impossible_value_ends_with_2_and_what_is_allowed(capsys):
    with pytest.raises(SystemExit) as ended:
        main("digits", ["--abnormal=3", "--epochs=0"])
    assert ended.value.code == 2
    assert "epochs is 0; it must be at least 1" in capsys.readouterr().err


def test_a_size_the_networks_cannot_take_ends_with_2_before_anything_is_written(tmp_path, capsys):
    assert main("digits", ["--abnormal=3", "--size=48", f"--out={tmp_path / 'run'}"]) == 2
    assert "images are 48x48" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_ends_with_2(tmp_path, capsys):
    assert main("digits", ["--abnormal=3", "--device=gpu", f"--out={tmp_path / 'run'}"]) == 2
    assert "there is no device gpu here; JAX sees cpu" in capsys.readouterr().err


def test_data_that_can_be_had_nowhere_ends_with_2_and_names_the_experiment_without_download(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # no network, wherever this runs
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert main("mnist", ["--abnormal=3", f"--data-dir={tmp_path}"]) == 2
    message = capsys.readouterr().err
    assert str(tmp_path) in message
    assert "python -m experiments.digits" in message


@pytest.mark.parametrize("name", NAMES)
def test_help_imports_nothing_heavy(name):
    program = (
        f"import sys; sys.argv = ['x', '--help']; import runpy\n"
        f"try: runpy.run_module('experiments.{name}', run_name='__main__')\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "heavy = {'jax', 'flax', 'sklearn', 'matplotlib', 'tensorflow_datasets', 'PIL', 'orbax'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "--abnormal" in result.stdout


def test_several_seeds_run_one_after_the_other_each_in_a_folder_of_its_own(tmp_path, monkeypatch):
    ran = []

    def run(prepared, folder, machine, argv, **options):
        ran.append((prepared.split.abnormal, prepared.training.seed, folder.name))
        value = {"value": 0.5, "low": 0.4, "high": 0.6}
        return {"abnormal": "3", "training": {"seed": prepared.training.seed}, "strict": {"auroc": value}}

    monkeypatch.setattr("sagan_jax.runs.run.run", run)
    monkeypatch.setattr("sagan_jax.report.text.summary", str)
    assert main("digits", ["--abnormal=3", "--seed=7", "--seeds=2", "--together=no", f"--out={tmp_path}"]) == 0
    assert ran == [("3", 7, "digits-3-paper-seed7"), ("3", 8, "digits-3-paper-seed8")]
    with pytest.raises(SystemExit) as ended:
        main("digits", ["--abnormal=3", "--seeds=0"])
    assert ended.value.code == 2
