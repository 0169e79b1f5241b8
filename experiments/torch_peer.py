"""SAGAN in PyTorch, for `experiments.benchmark`: the same network and the same step, as PyTorch runs them best."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, multiplier: int) -> nn.Module:
    """A depthwise-separable convolution, or for multiplier 0 a plain one."""
    if not multiplier:
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    depthwise = nn.Conv2d(inputs, multiplier * inputs, 3, padding=1, groups=inputs)
    return nn.Sequential(depthwise, nn.Conv2d(multiplier * inputs, outputs, 1))


class TorchDoubleConv(nn.Sequential):
    """Two times: 3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, middle: int, outputs: int, multiplier: int):
        super().__init__(
            conv3x3(inputs, middle, multiplier),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            conv3x3(middle, outputs, multiplier),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class TorchCBAM(nn.Module):
    """Channel attention, then spatial attention."""

    def __init__(self, channels: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(channels, channels // 16), nn.ReLU(), nn.Linear(channels // 16, channels))
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        x = x * weights.sigmoid()[:, :, None, None]
        summaries = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * self.norm(self.conv(summaries)).sigmoid()


class TorchGenerator(nn.Module):
    """The U-Net, with attention on the skips."""

    def __init__(self, channels: int, multiplier: int):
        super().__init__()
        widths = (64, 128, 256, 512, 512)
        decoder = ((1024, 512, 256), (512, 256, 128), (256, 128, 64), (128, 64, 64))
        inputs = (channels, *widths[:-1])
        self.encoder = nn.ModuleList(TorchDoubleConv(i, o, o, multiplier) for i, o in zip(inputs, widths, strict=True))
        self.attention = nn.ModuleList(TorchCBAM(width) for width in widths)
        self.decoder = nn.ModuleList(TorchDoubleConv(*sizes, multiplier) for sizes in decoder)
        self.out = nn.Conv2d(64, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, (block, attend) in enumerate(zip(self.encoder, self.attention, strict=True)):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(attend(x))
        x = skips.pop()
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([skips.pop(), x], 1))
        return self.out(x)


class TorchDiscriminator(nn.Module):
    """DCGAN's, giving logits and latents."""

    def __init__(self, channels: int, size: int):
        super().__init__()
        width = 64
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        while size > 8:
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
            size, width = size // 2, 2 * width
        self.features = nn.Sequential(*layers, nn.Conv2d(width, 100, 4, bias=False))
        self.classifier = nn.Conv2d(100, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.features(x)
        return self.classifier(latent).flatten(), latent.flatten(1)


def build_peer(size: int, multiplier: int) -> tuple[TorchGenerator, TorchDiscriminator]:
    """Both networks for RGB images, weights N(0, 0.02), BatchNorm scales N(1, 0.02), biases 0."""
    networks = TorchGenerator(3, multiplier), TorchDiscriminator(3, size)
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0, 0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return networks


def training_step(
    generator: Callable[[Tensor], Any], discriminator: Callable[[Tensor], Any], networks: tuple[nn.Module, nn.Module]
) -> Callable[[Tensor], Tensor]:
    """The paper's step with one forward pass of each network over each batch, as ours; fused Adam."""
    optimisers = [torch.optim.Adam(network.parameters(), 2e-3, (0.5, 0.999), fused=True) for network in networks]
    bce = F.binary_cross_entropy_with_logits

    def step(real: Tensor) -> Tensor:
        fake = generator(real)
        seen = fake.detach().requires_grad_()
        real_logits, real_latent = discriminator(real)
        fake_logits, fake_latent = discriminator(seen)
        ones, zeros = torch.ones_like(real_logits), torch.zeros_like(real_logits)
        loss = bce(fake_logits, ones) + 40 * F.l1_loss(seen, real) + F.mse_loss(fake_latent, real_latent.detach())
        discriminator_loss = bce(real_logits, ones) + bce(fake_logits, zeros)
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        fake.backward(torch.autograd.grad(loss, seen, retain_graph=True)[0])
        discriminator_loss.backward(inputs=list(networks[1].parameters()))
        for optimiser in optimisers:
            optimiser.step()
        return loss.detach()

    return step


@torch.inference_mode()
def score(generator: nn.Module, discriminator: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Per-image reconstruction and latent terms."""
    fake = generator(x)
    latent = (discriminator(x)[1] - discriminator(fake)[1]).square().mean(1)
    return (x - fake).square().mean((1, 2, 3)), latent


def copy_generator(params: Mapping[str, Any], generator: TorchGenerator) -> None:
    """Copies Flax parameters into the PyTorch generator, transposing as the layouts differ."""

    def put(tensor: Tensor | None, values: Any) -> None:
        assert tensor is not None
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(np.array(values)))

    def put_conv(conv: nn.Conv2d, layer: Mapping[str, Any]) -> None:
        put(conv.weight, np.transpose(layer["kernel"], (3, 2, 0, 1)))
        if "bias" in layer:
            put(conv.bias, layer["bias"])

    def put_double(block: TorchDoubleConv, layer: Mapping[str, Any]) -> None:
        for i, (conv, norm) in enumerate(((block[0], block[1]), (block[3], block[4]))):
            put(norm.weight, layer[f"BatchNorm_{i}"]["scale"])
            put(norm.bias, layer[f"BatchNorm_{i}"]["bias"])
            if isinstance(conv, nn.Conv2d):
                put_conv(conv, layer[f"Conv_{i}"]["Conv_0"])
                continue
            assert isinstance(conv, nn.Sequential)
            depthwise, pointwise = conv[0], conv[1]
            ours = layer[f"DepthwiseSeparableConv_{i}"]  # our copies lie outermost, PyTorch's innermost
            kernel = np.transpose(ours["depthwise_kernel"], (3, 2, 0, 1))  # [C, k, 3, 3]
            put(depthwise.weight, kernel.reshape(-1, 1, 3, 3))
            put(depthwise.bias, np.transpose(ours["depthwise_bias"]).reshape(-1))
            kernel = np.transpose(ours["pointwise_kernel"], (2, 1, 0))  # [O, C, k]
            put(pointwise.weight, kernel.reshape(kernel.shape[0], -1, 1, 1))
            put(pointwise.bias, ours["pointwise_bias"])

    for level, (block, attention) in enumerate(zip(generator.encoder, generator.attention, strict=True), start=1):
        assert isinstance(block, TorchDoubleConv)
        assert isinstance(attention, TorchCBAM)
        put_double(block, params[f"encoder{level}"])
        ours = params[f"attention{level}"]
        for i, dense in enumerate((attention.mlp[0], attention.mlp[2])):
            put(dense.weight, np.transpose(ours["channel"][f"Dense_{i}"]["kernel"]))
            put(dense.bias, ours["channel"][f"Dense_{i}"]["bias"])
        put_conv(attention.conv, ours["spatial"]["Conv_0"]["Conv_0"])
        put(attention.norm.weight, ours["spatial"]["BatchNorm_0"]["scale"])
        put(attention.norm.bias, ours["spatial"]["BatchNorm_0"]["bias"])
    for level, block in zip((4, 3, 2, 1), generator.decoder, strict=True):
        assert isinstance(block, TorchDoubleConv)
        put_double(block, params[f"decoder{level}"])
    put_conv(generator.out, params["out"]["Conv_0"])


def copy_discriminator(params: Mapping[str, Any], discriminator: TorchDiscriminator) -> None:
    """Copies Flax parameters into the PyTorch discriminator."""
    convs = [layer for layer in discriminator.features if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in discriminator.features if isinstance(layer, nn.BatchNorm2d)]
    kernels = [params[f"conv{i}"]["kernel"] for i in range(1, len(convs))]
    kernels += [params["latent"]["Conv_0"]["kernel"], params["classifier"]["Conv_0"]["kernel"]]
    with torch.no_grad():
        for conv, kernel in zip([*convs, discriminator.classifier], kernels, strict=True):
            conv.weight.copy_(torch.from_numpy(np.array(np.transpose(kernel, (3, 2, 0, 1)))))
        for i, norm in enumerate(norms, start=2):
            norm.weight.copy_(torch.from_numpy(np.array(params[f"norm{i}"]["scale"])))
            norm.bias.copy_(torch.from_numpy(np.array(params[f"norm{i}"]["bias"])))
