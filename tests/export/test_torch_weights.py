"""PyTorch's weights in and out: the same function, by every kind of file, and errors that name the tensor."""

import dataclasses

import jax
import numpy as np
import pytest
import safetensors.torch
import torch
from torch_sagan import networks, score

import sagan_jax
from sagan_jax.config import SkipGanomalyConfig, sagan_preset
from sagan_jax.data.digits import load_digits
from sagan_jax.detector import normalise
from sagan_jax.errors import UserError
from sagan_jax.judging.scoring import score_images
from sagan_jax.methods.sagan import sagan
from sagan_jax.methods.skip_ganomaly import skip_ganomaly

DIGITS = np.repeat(load_digits(16).images[:12], 3, axis=-1)  # real images, as RGB
VARIANTS = {
    "the authors' settings": {},
    "two copies, max pooling": {"multiplier": 2, "pool": "max"},
    "plain convolutions": {"multiplier": 0},
    "no attention": {"attention": False},
    "32 pixels, grey": {"size": 32, "channels": 1},
}


def state_dicts(**changes):
    return [network.state_dict() for network in networks(**changes)]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_scores_are_those_of_pytorch(changes):
    peer = networks(**changes)
    config = dataclasses.replace(sagan_preset("reference"), pool=changes.get("pool", "soft"))
    model = sagan_jax.load_torch(*(network.state_dict() for network in peer), config)
    multiplier = changes.get("multiplier", 1)
    assert model.config.depthwise == (multiplier > 0)
    assert model.config.depth_multiplier == (multiplier or 1)
    assert (model.config.width, model.config.latent_size, model.config.score_weight) == (4, 6, 0.9)
    height, _, channels = model.image_shape
    assert (height, channels) == (changes.get("size", 16), changes.get("channels", 3))

    images = DIGITS.repeat(height // 16, axis=1).repeat(height // 16, axis=2)[..., :channels]
    fields = ("total", "reconstruction", "latent", "reconstructed")
    ours = score_images(model.detector, model.state, images, batch_size=12, pictures=("reconstructed",))
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    theirs = dict(zip(fields, score(*peer, batch, 0.9), strict=True))
    theirs["reconstructed"] = theirs["reconstructed"].permute(0, 2, 3, 1)
    for name in fields:
        np.testing.assert_allclose(getattr(ours, name), theirs[name], rtol=1e-4, atol=1e-4, err_msg=name)
    assert ours.total.std() > 1e-3


@pytest.mark.parametrize("changes", [{}, {"multiplier": 2}, {"multiplier": 0}, {"attention": False}])
def test_the_way_back_gives_the_very_tensors_and_they_load_strictly(changes):
    peer = networks(**changes)
    back = sagan_jax.to_torch(sagan_jax.load_torch(*(network.state_dict() for network in peer)).state)
    for network, fresh, tensors in zip(peer, networks(**changes, seed=1), back, strict=True):
        fresh.load_state_dict(tensors, strict=True)
        for name, value in network.state_dict().items():
            assert torch.equal(fresh.state_dict()[name], value), name


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_training_goes_on_from_them(optimiser):
    config = dataclasses.replace(sagan_preset("reference"), pool="soft", optimiser=optimiser)
    model = sagan_jax.load_torch(*state_dicts(), config)
    moved, _ = jax.jit(model.detector.update)(model.state, normalise(DIGITS), jax.random.key(0))
    before, after = (jax.tree.leaves(state.generator.params) for state in (model.state, moved))
    convolutions = [(a, b) for a, b in zip(before, after, strict=True) if a.ndim > 2]
    assert all((a != b).any() for a, b in convolutions)


@pytest.mark.parametrize(
    "detector",
    [skip_ganomaly(SkipGanomalyConfig(width=4)), sagan(dataclasses.replace(sagan_preset("inspection"), width=4))],
)
def test_states_that_pytorch_has_no_names_for_are_refused(detector):
    state = detector.init(jax.random.key(0), (16, 16, 3))
    with pytest.raises(UserError, match="SAGAN as published"):
        sagan_jax.to_torch(state)


def test_two_networks_do_not_go_to_one_file(tmp_path):
    state = sagan_jax.load_torch(*state_dicts()).state
    with pytest.raises(UserError, match="go to two files"):
        sagan_jax.save_torch(state, tmp_path / "a", tmp_path / "." / "a")


def test_names_are_those_of_the_authors_weights():
    generator, discriminator = state_dicts(size=32, width=64, latent=100)
    back = sagan_jax.to_torch(sagan_jax.load_torch(generator, discriminator).state)
    assert set(back.generator) == set(generator)
    for name in (
        "inc.double_conv.0.depthwise.weight",
        "cbam1.channel_att.MLP.1.weight",
        "cbam1.spatial_att.conv.weight",
        "cbam1.spatial_att.bn.running_mean",
        "down1.maxpool_conv.1.double_conv.0.pointwise.weight",
        "up1.conv.double_conv.3.depthwise.bias",
        "outc.conv.weight",
    ):
        assert name in back.generator
    assert {name for name in back.discriminator if name.endswith(("weight", "var"))} == {
        "feat.initial-conv-3-64.weight",
        "feat.pyramid-64-128-conv.weight",
        "feat.pyramid-128-batchnorm.weight",
        "feat.pyramid-128-batchnorm.running_var",
        "feat.pyramid-128-256-conv.weight",
        "feat.pyramid-256-batchnorm.weight",
        "feat.pyramid-256-batchnorm.running_var",
        "feat.final-256-1-conv.weight",
        "clas.classifier.weight",
    }


def same(model, other):
    np.testing.assert_array_equal(
        score_images(model.detector, model.state, DIGITS, batch_size=12).total,
        score_images(other.detector, other.state, DIGITS, batch_size=12).total,
    )


def test_files_of_every_kind_are_read_and_wrappings_seen_through(tmp_path):
    generator, discriminator = state_dicts()
    model = sagan_jax.load_torch(generator, discriminator)
    parallel = {f"module.{name}": tensor for name, tensor in generator.items()}
    torch.save({"epoch": 3, "state_dict": parallel}, tmp_path / "generator.pth")
    safetensors.torch.save_file(discriminator, tmp_path / "discriminator.safetensors")
    same(model, sagan_jax.load_torch(tmp_path / "generator.pth", str(tmp_path / "discriminator.safetensors")))

    paths = tmp_path / "g.safetensors", tmp_path / "d.safetensors"
    sagan_jax.save_torch(model.state, *paths)
    same(model, sagan_jax.load_torch(*paths))
    networks()[0].load_state_dict(safetensors.torch.load_file(paths[0]), strict=True)


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, lambda tensors: tensors.pop("outc.conv.weight"), r"generator does not fit: outc\.conv\.weight is missing"),
        (0, lambda tensors: tensors.pop("down2.maxpool_conv.1.double_conv.4.running_var"), r"down2\S+var is missing"),
        (0, lambda tensors: tensors.pop("cbam3.spatial_att.bn.bias"), r"cbam3\.spatial_att\.bn\.bias is missing"),
        (
            1,
            lambda tensors: tensors.pop("feat.final-8-1-conv.weight"),
            r"feat\.final-8-1-conv\.weight is missing",
        ),
        (0, lambda tensors: tensors.update(head=torch.zeros(1)), "head is not one of the model's"),
        (
            0,
            lambda tensors: tensors.update({"up1.conv.double_conv.3.depthwise.bias": torch.zeros(3)}),
            r"up1\.conv\.double_conv\.3\.depthwise\.bias is float32 \(3,\), not float32 \(32,\)",
        ),
        (1, lambda tensors: tensors.update({"clas.classifier.weight": torch.zeros(1, 6, 1, 1)}), r"clas\.classifier"),
        (0, lambda tensors: tensors.update(head="text"), "no tensor as head: str"),
    ],
)
def test_a_missing_extra_or_misshaped_tensor_is_named(which, change, message):
    tensors = [dict(network) for network in state_dicts()]
    change(tensors[which])
    with pytest.raises(UserError, match=message):
        sagan_jax.load_torch(*tensors)


class Harmful:
    def __reduce__(self):
        return (print, ("code in a file of weights ran",))


def test_a_file_that_would_run_code_does_not(tmp_path, capsys):
    torch.save({"state_dict": Harmful()}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="cannot be read as PyTorch weights"):
        sagan_jax.load_torch(tmp_path / "weights.pth", {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_that_is_missing_or_broken_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        sagan_jax.load_torch(tmp_path / name, {})
    (tmp_path / name).write_bytes(b"\x00broken")
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        sagan_jax.load_torch(tmp_path / name, {})
