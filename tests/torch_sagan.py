"""SAGAN in PyTorch under the names its authors' weights have, written for the tests from the paper and those names."""

import torch
import torch.nn.functional as F
from torch import nn


class Separable(nn.Module):
    def __init__(self, inputs, outputs, multiplier):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs * multiplier, 3, padding=1, groups=inputs)
        self.pointwise = nn.Conv2d(inputs * multiplier, outputs, 1)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class Double(nn.Module):
    def __init__(self, inputs, middle, outputs, multiplier):
        super().__init__()
        conv = (
            (lambda i, o: Separable(i, o, multiplier)) if multiplier else (lambda i, o: nn.Conv2d(i, o, 3, padding=1))
        )
        first = (conv(inputs, middle), nn.BatchNorm2d(middle), nn.ReLU())
        self.double_conv = nn.Sequential(*first, conv(middle, outputs), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x):
        return self.double_conv(x)


class SoftPool(nn.Module):
    def forward(self, x):
        weights = x.exp()
        return F.avg_pool2d(x * weights, 2) / F.avg_pool2d(weights, 2)


class Down(nn.Module):
    def __init__(self, inputs, outputs, multiplier, pool):
        super().__init__()
        pooling = nn.MaxPool2d(2) if pool == "max" else SoftPool()
        self.maxpool_conv = nn.Sequential(pooling, Double(inputs, outputs, outputs, multiplier))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, inputs, outputs, multiplier):
        super().__init__()
        self.conv = Double(inputs, inputs // 2, outputs, multiplier)

    def forward(self, x, skip):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv(torch.cat([skip, x], 1))


class ChannelAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        narrow = max(1, channels // 16)
        self.MLP = nn.Sequential(nn.Flatten(), nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels))

    def forward(self, x):
        summed = self.MLP(F.adaptive_avg_pool2d(x, 1)) + self.MLP(F.adaptive_max_pool2d(x, 1))
        return x * summed.sigmoid()[:, :, None, None]


class SpatialAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x):
        summaries = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * self.bn(self.conv(summaries)).sigmoid()


class CBAM(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channel_att, self.spatial_att = ChannelAttention(channels), SpatialAttention()

    def forward(self, x):
        return self.spatial_att(self.channel_att(x))


class Generator(nn.Module):
    def __init__(self, channels, width, multiplier, pool, attention=True):
        super().__init__()
        w = width
        widths = (w, 2 * w, 4 * w, 8 * w, 8 * w)
        self.inc = Double(channels, w, w, multiplier)
        for i in range(4):
            setattr(self, f"down{i + 1}", Down(widths[i], widths[i + 1], multiplier, pool))
        for i, size in enumerate(widths if attention else ()):
            setattr(self, f"cbam{i + 1}", CBAM(size))
        for i, (inputs, outputs) in enumerate(((16 * w, 4 * w), (8 * w, 2 * w), (4 * w, w), (2 * w, w))):
            setattr(self, f"up{i + 1}", Up(inputs, outputs, multiplier))
        self.outc = nn.Module()
        self.outc.conv = nn.Conv2d(w, channels, 1)
        self.attention = attention

    def forward(self, x):
        maps = [self.inc(x)]
        for i in range(4):
            maps.append(getattr(self, f"down{i + 1}")(maps[-1]))
        skips = [getattr(self, f"cbam{i + 1}")(x) if self.attention else x for i, x in enumerate(maps)]
        x = skips.pop()
        for i in range(4):
            x = getattr(self, f"up{i + 1}")(x, skips.pop())
        return self.outc.conv(x)


class Discriminator(nn.Module):
    def __init__(self, channels, size, width, latent):
        super().__init__()
        self.feat, self.clas = nn.Sequential(), nn.Sequential()
        self.feat.add_module(f"initial-conv-{channels}-{width}", nn.Conv2d(channels, width, 4, 2, 1, bias=False))
        self.feat.add_module(f"initial-relu-{width}", nn.LeakyReLU(0.2))
        while size > 8:
            self.feat.add_module(f"pyramid-{width}-{2 * width}-conv", nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False))
            size, width = size // 2, 2 * width
            self.feat.add_module(f"pyramid-{width}-batchnorm", nn.BatchNorm2d(width))
            self.feat.add_module(f"pyramid-{width}-relu", nn.LeakyReLU(0.2))
        self.feat.add_module(f"final-{width}-1-conv", nn.Conv2d(width, latent, 4, bias=False))
        self.clas.add_module("classifier", nn.Conv2d(latent, 1, 3, padding=1, bias=False))

    def forward(self, x):
        latent = self.feat(x)
        return self.clas(latent).flatten(), latent.flatten(1)


def networks(channels=3, size=16, width=4, latent=6, multiplier=1, pool="soft", attention=True, seed=0):
    """Both networks in evaluation mode, every parameter and statistic random, large enough to tell."""
    generator = torch.Generator().manual_seed(seed)
    made = Generator(channels, width, multiplier, pool, attention), Discriminator(channels, size, width, latent)
    for network in made:
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                fan_in = tensor[0].numel() if tensor.ndim > 1 else 16
                tensor.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                    tensor.abs_().add_(0.5)
        network.eval()
    return made


@torch.inference_mode()
def score(generator, discriminator, images, weight):
    """The score, its two terms, and the reconstruction, of float images [B, C, H, W] in [-1, 1]."""
    seen = generator(images)
    reconstruction = (images - seen).square().mean((1, 2, 3))
    latent = (discriminator(images)[1] - discriminator(seen)[1]).square().mean(1)
    return weight * reconstruction + (1 - weight) * latent, reconstruction, latent, seen
