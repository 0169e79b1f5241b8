"""Exported scorers are the live one: for every method, in every format, and without this package."""

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
from PIL import Image

from sagan_jax import __version__
from sagan_jax.cli import main
from sagan_jax.config import JudgingConfig, TrainingConfig, settings_to_json
from sagan_jax.data.digits import load_digits
from sagan_jax.errors import UserError
from sagan_jax.export import programs as export
from sagan_jax.export import weights
from sagan_jax.judging.calibration import calibrate, calibrated, threshold_for
from sagan_jax.judging.scoring import score_images
from sagan_jax.methods.table import METHODS
from sagan_jax.runs import checkpoint
from sagan_jax.runs.configuration import configuration
from sagan_jax.runs.model import Model, untrained_model

EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGES = load_digits(16).images[:300]  # real ones
CALIBRATED, SCORED = IMAGES[:100], IMAGES[100:]
SAGAN = pytest.mark.parametrize("model", ["sagan"], indirect=True)  # where one method will do


def random_state(like):
    """Weights of about unit gain, vectors (variances among them) of 0.5 to 1.5: no part of the model is idle."""
    generator = np.random.default_rng(0)

    def leaf(like):
        if like.dtype != np.float32:
            return np.zeros(like.shape, like.dtype)
        draw = generator.random(like.shape, np.float32)
        return np.float32((6 / np.prod(like.shape[:-1])) ** 0.5) * (2 * draw - 1) if like.ndim > 1 else 0.5 + draw

    return jax.device_put(jax.tree.map(leaf, like))


def make_model(method, preset="paper"):
    """A model with narrow networks and random weights."""
    settings = METHODS[method].presets[preset]
    small = {"width": 4, "latent_size": 8, "search_steps": 3}
    settings = dataclasses.replace(settings, **{k: v for k, v in small.items() if hasattr(settings, k)})
    config = {
        "dataset": "digits",
        "abnormal": "3",
        "format": checkpoint.FORMAT,
        "image_shape": [16, 16, 1],
        "train_images": 1000,
        "method": method,
        "model": settings_to_json(settings),
        "training": TrainingConfig().as_json(),
        "run": dataclasses.asdict(JudgingConfig()),
    }
    model = untrained_model(configuration(config, Path("config.json")), Path("config.json"))
    state = random_state(model.state)
    normal = score_images(model.detector, state, CALIBRATED, pictures=("map",)).total
    return model._replace(state=state, calibration=calibrate(normal), epoch=7)


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param(method, marks=[] if method == "sagan" else pytest.mark.slow) for method in METHODS),
        pytest.param("sagan inspection", marks=pytest.mark.slow),
    ],
)
def model(request) -> Model:
    return make_model(*request.param.split())


@pytest.fixture(scope="module")
def live(model):
    """What the model says of 200 images, under the names an exported one has."""
    scores = score_images(model.detector, model.state, SCORED, pictures=("map",))
    assert scores.total.std() > 1e-3 * scores.total.mean() > 0  # they differ, or agreement would mean little
    share = calibrated(model.calibration, scores.total)
    outputs = (scores.total, scores.reconstruction, scores.latent, share, scores.map)
    return dict(zip(export.OUTPUTS, outputs, strict=True))


def check(model, live, scores):
    """The same to 1e-4, and the same verdicts."""
    for name in export.OUTPUTS:
        if name != "calibrated":
            np.testing.assert_allclose(scores[name], live[name], rtol=1e-4, atol=1e-4, err_msg=name)
    one_image = 1 / len(CALIBRATED)  # the calibrated score is a step function of the score
    np.testing.assert_allclose(scores["calibrated"], live["calibrated"], atol=one_image)
    threshold = threshold_for(model.calibration, model.false_positive_rate)
    verdicts = live["score"] > threshold
    assert 0 < verdicts.sum() < len(verdicts)
    np.testing.assert_array_equal(np.asarray(scores["score"]) > threshold, verdicts)


@pytest.fixture(scope="module")
def stablehlo(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.zip"
    export.export_model(model, "stablehlo", path)
    return path


def test_stablehlo_scores_as_the_live_model(model, live, stablehlo):
    with zipfile.ZipFile(stablehlo) as file:
        about = json.loads(file.read("metadata.json"))
        program = jax.export.deserialize(bytearray(file.read("scorer.jax")))
    assert program.platforms == ("cpu", "cuda")
    assert about == json.loads(json.dumps(export.metadata(model)))
    scores = program.call(SCORED)
    check(model, live, scores)
    if model.method == "sagan":  # a batch of another size
        np.testing.assert_allclose(program.call(SCORED[:13])["score"], scores["score"][:13], rtol=1e-5)


@pytest.fixture(scope="module")
def onnx(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export.export_model(model, "onnx", path)
    return path


def test_onnx_scores_as_the_live_model_in_batches_of_any_size(model, live, onnx):
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("images", "tensor(uint8)", ["N", 16, 16, 1])]
    assert [output.name for output in session.get_outputs()] == list(export.OUTPUTS)
    about = json.loads(session.get_modelmeta().custom_metadata_map["sagan_jax"])
    assert about == json.loads(json.dumps(export.metadata(model)))
    parts = [session.run(None, {"images": images}) for images in (SCORED[:13], SCORED[13:])]
    joined = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    check(model, live, dict(zip(export.OUTPUTS, joined, strict=True)))


def test_safetensors_bring_the_model_back_bit_for_bit(model, live, tmp_path):
    path = tmp_path / "model.safetensors"
    export.export_model(model, "safetensors", path)
    loaded = weights.load_safetensors(path)
    assert loaded.detector is model.detector  # the same settings give the same functions
    assert (loaded.method, loaded.settings, loaded.epoch) == (model.method, model.settings, model.epoch)
    np.testing.assert_array_equal(loaded.calibration.quantiles, model.calibration.quantiles)
    np.testing.assert_array_equal(
        score_images(loaded.detector, loaded.state, SCORED, pictures=("map",)).total, live["score"]
    )


def test_safetensors_have_no_more_than_scoring_reads(model):
    tensors = safetensors.numpy.load(export.FORMATS["safetensors"](model))
    assert not any("optimiser" in name for name in tensors)
    assert sum(array.size for array in tensors.values()) < sum(leaf.size for leaf in jax.tree.leaves(model.state))


@SAGAN
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("state.generator.params.out.Conv_0.bias"), r"out\.Conv_0\.bias is missing"),
        (lambda tensors: tensors.update(stray=np.zeros(2)), "stray is not one of the model's"),
        (
            lambda tensors: tensors.update({"calibration.quantiles": np.zeros(3, np.float32)}),
            r"calibration\.quantiles is float32 \(3,\), not float32 \(1001,\)",
        ),
    ],
)
def test_a_missing_extra_or_misshaped_tensor_is_named(model, tmp_path, change, message):
    tensors = safetensors.numpy.load(export.FORMATS["safetensors"](model))
    change(tensors)
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(tensors, path, {weights.METADATA: json.dumps(export.metadata(model))})
    with pytest.raises(UserError, match=message):
        weights.load_safetensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"\xff" * 100, "cannot be read"),
        (safetensors.numpy.save({"a": np.zeros(2)}), "has no metadata of sagan_jax"),
        (safetensors.numpy.save({"a": np.zeros(2)}, {"sagan_jax": "[]"}), "has no metadata of sagan_jax"),
        (safetensors.numpy.save({"a": np.zeros(2)}, {"sagan_jax": "{"}), "cannot be read"),
        (safetensors.numpy.save({"a": np.zeros(2)}, {"sagan_jax": '{"config": {}, "epoch": 1}'}), "another version"),
        (
            safetensors.numpy.save({"a": np.zeros(2)}, {"sagan_jax": '{"config": {"format": 99}, "epoch": 1}'}),
            "a newer version",
        ),
    ],
)
def test_a_file_that_is_no_export_is_refused(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        weights.load_safetensors(path)


@SAGAN
def test_metadata_say_what_the_model_is(model):
    about = export.metadata(model)
    assert (about["version"], about["method"], about["epoch"]) == (__version__, "sagan", 7)
    assert (about["false_positive_rate"], about["image_shape"]) == (0.05, [16, 16, 1])
    assert about["threshold"] == pytest.approx(np.quantile(model.calibration.quantiles, 0.95))
    assert about["config"]["abnormal"] == "3"


def without(packages, script, *arguments):
    """What a script prints in a process that cannot import some packages."""
    program = (
        f"import sys, runpy; sys.modules |= dict.fromkeys({packages!r}); del sys.argv[0]\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r}); runpy.run_path(sys.argv[0])"
    )
    command = [sys.executable, "-W", "error", "-c", program, EXAMPLES / script, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def said(model, live, names):
    """What the examples print, by the live model."""
    threshold = threshold_for(model.calibration, model.false_positive_rate)
    return [
        (name, "abnormal" if score > threshold else "normal") for name, score in zip(names, live["score"], strict=True)
    ]


def columns(printed):
    return [(fields[0], fields[-1]) for fields in (line.split("\t") for line in printed.splitlines())]


@SAGAN
def test_the_stablehlo_example_needs_jax_alone(model, live, stablehlo, tmp_path):
    np.save(tmp_path / "images.npy", SCORED)
    others = ["sagan_jax", "flax", "optax", "orbax", "jaxtyping", "PIL", "sklearn", "matplotlib", "tyro"]
    printed = without(others, "score_stablehlo.py", stablehlo, tmp_path / "images.npy")
    assert columns(printed) == said(model, live, [str(i) for i in range(len(SCORED))])


@SAGAN
def test_the_onnx_example_needs_onnxruntime_alone(model, live, onnx, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(len(SCORED))]
    for file, image in zip(files, SCORED, strict=True):
        Image.fromarray(image[:, :, 0]).save(file)
    others = ["sagan_jax", "jax", "jaxlib", "flax", "optax", "orbax", "scipy", "onnx", "jax2onnx"]
    printed = without(others, "score_onnx.py", onnx, *files)
    assert columns(printed) == said(model, live, [str(file) for file in files])


@SAGAN
def test_what_cannot_be_written_is_refused_and_nothing_lost(model, tmp_path):
    there = tmp_path / "there.safetensors"
    there.write_text("mine")
    for form, path, message in (
        ("pickle", tmp_path / "new", "format is 'pickle'; stablehlo, onnx, safetensors are allowed"),
        ("safetensors", there, "exists"),
        ("safetensors", tmp_path / "none" / "new", "is not a folder"),
        ("safetensors", Path("/proc/new"), "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            export.export_model(model, form, path)
    assert there.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there.safetensors"]


@SAGAN
def test_the_command_exports_a_run_once_and_refuses_what_is_none(model, tmp_path, capsys):
    identity = configuration(model.config, tmp_path).identity
    (tmp_path / "config.json").write_text(json.dumps(model.config))
    with checkpoint.open_checkpoints(tmp_path / "checkpoints", identity) as checkpoints:
        pass
    command = ["export", str(tmp_path), "--format=safetensors"]
    assert main(command) == 2
    assert "there is no checkpoint" in capsys.readouterr().err
    with checkpoint.open_checkpoints(tmp_path / "checkpoints", identity) as checkpoints:
        checkpoint.save(checkpoints, checkpoint.Checkpoint(7, model.state, model.calibration), 0.5)
    assert main(command) == 0
    path = tmp_path / "scorer.safetensors"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes() == export.FORMATS["safetensors"](model)
    assert main(command) == 2
    assert "scorer.safetensors exists" in capsys.readouterr().err
