"""PyTorch twins of the steps in `steps`, with the same layers, losses, optimizers and number of passes.

Each factory returns a `Step`, whose `run` takes one training step; its modules may be compiled before the first one.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from experiments.benchmark.timing import Timed, seconds
from gan_jax.networks.dcgan import stages
from gan_jax.networks.translation import PATCHES

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


class Step(NamedTuple):
    """A training step and the modules it calls."""

    run: Callable[[], None]
    modules: Sequence[nn.Module]
    images: int
    """Number of real examples in a step."""


def timed(step: Step, calls: int, *, compiled: bool = False) -> Timed:
    """The timing of `calls` steps.

    If `compiled`, each module is compiled by `torch.compile`, whose gradients cannot be differentiated again.
    """
    for module in step.modules if compiled else ():
        module.compile()

    def steps() -> None:
        for _ in range(calls):
            step.run()
        if DEVICE == 'cuda':
            torch.cuda.synchronize()

    compile_seconds = seconds(steps)
    seconds(steps)
    return Timed(steps, calls, step.images, compile_seconds)


def _placed(module: nn.Module) -> Any:
    return module.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _images(n: int, size: int, channels: int = 3) -> Tensor:
    x = 2 * torch.rand(n, channels, size, size, device=DEVICE) - 1
    return x.contiguous(memory_format=torch.channels_last)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, device=DEVICE)


def _adam(modules: Sequence[nn.Module], rate: float = 2e-4, betas: tuple[float, float] = (0.5, 0.999)) -> torch.optim.Adam:
    return torch.optim.Adam([p for module in modules for p in module.parameters()], rate, betas, foreach=True)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _squared_gradient_norm(logits: Tensor, x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.square().sum(tuple(range(1, x.ndim)))


def _alternating(
    generator: Any,
    discriminator: Any,
    real: Tensor,
    latent: Callable[[], Tensor],
    d_loss: Callable[[Tensor, Tensor], Tensor],
    g_loss: Callable[[Tensor], Tensor],
    betas: tuple[float, float] = (0.5, 0.999),
) -> Step:
    """One step of each player, with losses `d_loss(real, fake images)` and `g_loss(fake images)`."""
    g_optimizer, d_optimizer = (_adam([module], betas=betas) for module in (generator, discriminator))

    def run() -> None:
        with torch.no_grad():
            fake = generator(latent())
        _descend(d_optimizer, d_loss(real, fake))
        discriminator.requires_grad_(False)
        _descend(g_optimizer, g_loss(generator(latent())))
        discriminator.requires_grad_(True)

    return Step(run, [generator, discriminator], len(real))


# DCGAN


class TorchDCGANGenerator(nn.Module):
    def __init__(self, size: int, channels: int, width: int, kernel_size: int) -> None:
        super().__init__()
        self.base, halvings = stages(size)
        k, widths = kernel_size, [width << i for i in reversed(range(halvings))]
        self.project = nn.Linear(100, self.base**2 * widths[0], bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths)
        pairs = zip(widths, [*widths[1:], channels], strict=True)
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(a, b, k, 2, (k - 1) // 2, output_padding=k % 2, bias=b == channels) for a, b in pairs
        )

    def forward(self, z: Tensor) -> Tensor:
        x = self.project(z).view(len(z), -1, self.base, self.base).contiguous(memory_format=torch.channels_last)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = layer(F.relu(norm(x)))
        return torch.tanh(x)


class TorchDCGANDiscriminator(nn.Module):
    def __init__(self, size: int, channels: int, width: int, kernel_size: int) -> None:
        super().__init__()
        base, halvings = stages(size)
        widths = [width << i for i in range(halvings)]
        pairs = zip([channels, *widths[:-1]], widths, strict=True)
        pad = (kernel_size - 1) // 2
        self.layers = nn.ModuleList(nn.Conv2d(a, b, kernel_size, 2, pad, bias=a == channels) for a, b in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:])
        self.head = nn.Linear(widths[-1] * base * base, 1)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = F.leaky_relu(self.norms[i - 1](x) if i else x, 0.2)
        return self.head(x.flatten(1)).squeeze(1)


def dcgan(
    size: int = 32, channels: int = 3, width: int = 64, kernel_size: int = 5, batch_size: int = 64, unroll_steps: int = 0
) -> Step:
    """Twin of `steps.dcgan`."""
    sizes = (size, channels, width, kernel_size)
    generator, discriminator = _placed(TorchDCGANGenerator(*sizes)), _placed(TorchDCGANDiscriminator(*sizes))
    latent = lambda: _normal(batch_size, 100)
    return _unrolled(generator, discriminator, _images(batch_size, size, channels), latent, unroll_steps)


def _unrolled(generator: Any, discriminator: Any, real: Tensor, latent: Callable[[], Tensor], unroll_steps: int) -> Step:
    """The non-saturating game, in which G is differentiated through `unroll_steps` Adam steps of D."""

    def d_loss(judge: Callable[[Tensor], Tensor], fake: Tensor) -> Tensor:
        return (F.softplus(-judge(real)) + F.softplus(judge(fake))).mean()

    if not unroll_steps:
        g_loss = lambda fake: F.softplus(-discriminator(fake)).mean()
        return _alternating(generator, discriminator, real, latent, lambda _, fake: d_loss(discriminator, fake), g_loss)
    g_optimizer, d_optimizer = _adam([generator]), _adam([discriminator])
    d_params = dict(discriminator.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in discriminator.named_buffers()}

    def future(fake: Tensor) -> Callable[[Tensor], Tensor]:
        params = list(d_params.values())
        judge = lambda x: functional_call(discriminator, {**dict(zip(d_params, params, strict=True)), **buffers}, (x,))
        states = [d_optimizer.state[p] for p in params]
        m, v, step = [s['exp_avg'] for s in states], [s['exp_avg_sq'] for s in states], float(states[0]['step'])
        for i in range(1, unroll_steps + 1):
            gradients = torch.autograd.grad(d_loss(judge, fake), params, create_graph=True)
            m = [0.5 * a + 0.5 * g for a, g in zip(m, gradients, strict=True)]
            v = [0.999 * a + 0.001 * g * g for a, g in zip(v, gradients, strict=True)]
            first, second = 1 - 0.5 ** (step + i), 1 - 0.999 ** (step + i)
            params = [p - 2e-4 * (a / first) / ((b / second + 1e-16).sqrt() + 1e-8) for p, a, b in zip(params, m, v, strict=True)]
        return lambda x: functional_call(discriminator, {**dict(zip(d_params, params, strict=True)), **buffers}, (x,))

    g_params = list(generator.parameters())

    def run() -> None:
        with torch.no_grad():
            fake = generator(latent())
        _descend(d_optimizer, d_loss(discriminator, fake))
        fake = generator(latent())
        loss = F.softplus(-future(fake)(fake)).mean()
        for p, gradient in zip(g_params, torch.autograd.grad(loss, g_params), strict=True):
            p.grad = gradient
        g_optimizer.step()

    return Step(run, [generator, discriminator], len(real))


# The residual networks of SNGAN and WGAN-GP


class TorchResNetGenerator(nn.Module):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.base, doublings = stages(size)
        self.width = width
        self.project = nn.Linear(128, self.base**2 * width)
        block = lambda: nn.ModuleDict(
            {
                'norm0': nn.BatchNorm2d(width),
                'conv0': nn.Conv2d(width, width, 3, padding=1),
                'norm1': nn.BatchNorm2d(width),
                'conv1': nn.Conv2d(width, width, 3, padding=1),
                'skip': nn.Conv2d(width, width, 1),
            }
        )
        self.blocks: Any = nn.ModuleList(block() for _ in range(doublings))
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.project(z).view(len(z), self.width, self.base, self.base).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block['conv0'](F.interpolate(F.relu(block['norm0'](x)), scale_factor=2))
            h = block['conv1'](F.relu(block['norm1'](h)))
            x = h + F.interpolate(block['skip'](x), scale_factor=2)
        return torch.tanh(self.last(F.relu(self.norm(x))))


class ResNetDiscriminator(nn.Module):
    def __init__(self, width: int, wrap: Callable[[Any], Any], pool: str) -> None:
        super().__init__()
        self.pool = pool
        conv = lambda a, k: wrap(nn.Conv2d(a, width, k, padding=k // 2))
        self.first = nn.ModuleList([conv(3, 3), conv(width, 3), conv(3, 1)])
        self.blocks: Any = nn.ModuleList(
            nn.ModuleList([conv(width, 3), conv(width, 3), *([conv(width, 1)] if shrinks else [])])
            for shrinks in (True, False, False)
        )
        self.head = wrap(nn.Linear(width, 1, bias=pool == 'mean'))  # SNGAN's head has no bias, WGAN-GP's has one

    def forward(self, x: Tensor) -> Tensor:
        h = self.first[1](F.relu(self.first[0](x)))
        x = F.avg_pool2d(h, 2) + self.first[2](F.avg_pool2d(x, 2))
        for block in self.blocks:
            h = block[1](F.relu(block[0](F.relu(x))))
            x = F.avg_pool2d(h, 2) + block[2](F.avg_pool2d(x, 2)) if len(block) == 3 else h + x
        x = F.relu(x)
        return self.head(x.sum((2, 3)) if self.pool == 'sum' else x.mean((2, 3))).squeeze(1)


def sngan(size: int = 32, width: int = 32, batch_size: int = 32) -> Step:
    """Twin of `steps.sngan`."""
    generator = _placed(TorchResNetGenerator(size, width))
    discriminator = _placed(ResNetDiscriminator(width, spectral_norm, 'sum'))
    d_loss = lambda real, fake: (F.relu(1 - discriminator(real)) + F.relu(1 + discriminator(fake))).mean()
    g_loss = lambda fake: -discriminator(fake).mean()
    latent = lambda: _normal(batch_size, 128)
    return _alternating(generator, discriminator, _images(batch_size, size), latent, d_loss, g_loss, (0.0, 0.9))


def wgan_gp(size: int = 32, width: int = 32, batch_size: int = 32) -> Step:
    """Twin of `steps.wgan_gp`."""
    generator = _placed(TorchResNetGenerator(size, width))
    discriminator = _placed(ResNetDiscriminator(width, lambda layer: layer, 'mean'))

    def d_loss(real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, device=DEVICE)
        between = (share * real + (1 - share) * fake).requires_grad_()
        norm = _squared_gradient_norm(discriminator(between), between).sqrt()
        return (discriminator(fake) - discriminator(real) + 10 * (norm - 1).square()).mean()

    g_loss = lambda fake: -discriminator(fake).mean()
    latent = lambda: _normal(batch_size, 128)
    return _alternating(generator, discriminator, _images(batch_size, size), latent, d_loss, g_loss, (0.0, 0.9))


# Image to image


class TorchUNet(nn.Module):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        n = size.bit_length() - 1
        widths = [width * min(2**i, 8) for i in range(n)]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip([3, *widths[:-1]], widths, strict=True))
        inner = [widths[-1], *(2 * w for w in widths[-2::-1])]
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(inner, [*widths[-2::-1], 3], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for i, layer in enumerate(self.down):
            x = layer(F.leaky_relu(x, 0.2) if i else x)
            x = F.instance_norm(x) if 0 < i < len(self.down) - 1 else x
            maps.append(x)
        x = maps.pop()
        for i, layer in enumerate(self.up[:-1]):
            x = F.instance_norm(layer(F.relu(x)))
            x = torch.cat([F.dropout(x) if i < 3 else x, maps.pop()], 1)
        return torch.tanh(self.up[-1](F.relu(x)))


class TorchPatchDiscriminator(nn.Module):
    def __init__(self, channels: int, width: int, field: int = 34) -> None:
        super().__init__()
        *hidden, (last, _) = PATCHES[field]
        widths = [channels, *(width * min(2**i, 8) for i in range(len(hidden)))]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, k, stride, 1) for a, b, (k, stride) in zip(widths[:-1], widths[1:], hidden, strict=True)
        )
        self.last = nn.Conv2d(widths[-1], 1, last, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = F.leaky_relu(F.instance_norm(x) if i else x, 0.2)
        return self.last(x).squeeze(1)


def pix2pix(size: int = 64, width: int = 32, batch_size: int = 4) -> Step:
    """Twin of `steps.pix2pix`."""
    generator, discriminator = _placed(TorchUNet(size, width)), _placed(TorchPatchDiscriminator(6, width))
    source, target = _images(batch_size, size), _images(batch_size, size)
    judge = lambda x: discriminator(torch.cat([source, x], 1))
    d_loss = lambda real, fake: F.softplus(-judge(real)).mean() + F.softplus(judge(fake)).mean()
    g_loss = lambda fake: F.softplus(-judge(fake)).mean() + 100 * (fake - target).abs().mean()
    return _alternating(generator, discriminator, target, lambda: source, d_loss, g_loss)


class TranslationResNet(nn.Module):
    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        norm = nn.InstanceNorm2d
        conv = lambda a, b, k: (nn.ReflectionPad2d(k // 2), nn.Conv2d(a, b, k))
        wide = 4 * width
        down = lambda a: (nn.Conv2d(a, 2 * a, 3, 2, 1), norm(2 * a), nn.ReLU())
        up = lambda a: (nn.ConvTranspose2d(a, a // 2, 3, 2, 1, 1), norm(a // 2), nn.ReLU())
        self.start = nn.Sequential(*conv(3, width, 7), norm(width), nn.ReLU(), *down(width), *down(2 * width))
        self.blocks = nn.ModuleList(
            nn.Sequential(*conv(wide, wide, 3), norm(wide), nn.ReLU(), *conv(wide, wide, 3), norm(wide)) for _ in range(blocks)
        )
        self.end = nn.Sequential(*up(wide), *up(2 * width), *conv(width, 3, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        for block in self.blocks:
            x = x + block(x)
        return self.end(x)


def cyclegan(size: int = 64, width: int = 24, blocks: int = 3, batch_size: int = 2) -> Step:
    """Twin of `steps.cyclegan`."""
    generators = [_placed(TranslationResNet(width, blocks)) for _ in range(2)]
    discriminators = [_placed(TorchPatchDiscriminator(3, width)) for _ in range(2)]
    to_b, to_a = generators
    reals = [_images(batch_size, size) for _ in range(2)]
    pools = [_images(50, size) for _ in range(2)]
    g_optimizer, d_optimizer = _adam(generators), _adam(discriminators)

    def exchange(pool: Tensor, fake: Tensor) -> Tensor:
        places = torch.randint(50, (len(fake),), device=DEVICE)
        swapped = (torch.rand(len(fake), device=DEVICE) < 0.5)[:, None, None, None]
        old = pool[places]
        pool[places] = torch.where(swapped, fake, old)
        return torch.where(swapped, old, fake)

    def run() -> None:
        a, b = reals
        with torch.no_grad():
            fakes = [exchange(pool, fake) for pool, fake in zip(pools, (to_a(b), to_b(a)), strict=True)]
        both = zip(discriminators, reals, fakes, strict=True)
        _descend(d_optimizer, sum(((judge(x) - 1).square() + judge(y).square()).mean() / 2 for judge, x, y in both))
        for judge in discriminators:
            judge.requires_grad_(False)
        fake_a, fake_b = to_a(b), to_b(a)
        cycle = (to_a(fake_b) - a).abs().mean() + (to_b(fake_a) - b).abs().mean()
        judged = zip(discriminators, (fake_a, fake_b), strict=True)
        _descend(g_optimizer, sum((judge(x) - 1).square().mean() for judge, x in judged) + 10 * cycle)
        for judge in discriminators:
            judge.requires_grad_(True)

    return Step(run, [*generators, *discriminators], batch_size)


# Points in the plane


class Dense(nn.Module):
    """A linear layer, or one linear layer per seed: `[seeds, n, a] -> [seeds, n, b]`."""

    def __init__(self, a: int, b: int, seeds: int) -> None:
        super().__init__()
        shape = (seeds,) if seeds else ()
        self.weight = nn.Parameter(torch.randn(*shape, a, b) / a**0.5)
        self.bias = nn.Parameter(torch.zeros(*shape, 1, b))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight) if x.ndim == 3 else torch.addmm(self.bias, x, self.weight)


def unrolled_ring(width: int = 128, batch_size: int = 512, latent_size: int = 256, unroll_steps: int = 0, seeds: int = 0) -> Step:
    """Twin of `steps.unrolled_ring`, whose networks have an axis of seeds if there are several."""
    shape = (seeds, batch_size) if seeds else (batch_size,)
    dense = lambda a, b: Dense(a, b, seeds)
    generator: Any = nn.Sequential(dense(latent_size, width), nn.ReLU(), dense(width, width), nn.ReLU(), dense(width, 2))
    discriminator: Any = nn.Sequential(dense(2, width), nn.ReLU(), dense(width, 1), nn.Flatten(-2))
    step = _unrolled(
        generator.to(DEVICE), discriminator.to(DEVICE), _normal(*shape, 2), lambda: _normal(*shape, latent_size), unroll_steps
    )
    return step._replace(images=batch_size * max(seeds, 1))


# R3GAN


class TorchBlock(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.narrow, self.conv = nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, hidden, 3, padding=1)
        self.widen = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.widen(F.leaky_relu(self.conv(F.leaky_relu(self.narrow(x), 0.2)), 0.2))


def _resized(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, (side, side), mode='bilinear', antialias=side < x.shape[-1])


class TorchR3GANGenerator(nn.Module):
    def __init__(self, size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.sides = [max(4, size >> i) for i in reversed(range(len(widths)))]
        self.basis = nn.Parameter(torch.randn(1, widths[0], self.sides[0], self.sides[0]))
        self.modulation = nn.Linear(64, widths[0], bias=False)
        self.resized = nn.ModuleList(
            nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity()
            for a, b in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.blocks = nn.ModuleList(TorchBlock(w, w // 2) for w in widths)
        self.last = nn.Conv2d(widths[-1], 3, 1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        x = self.basis * self.modulation(z)[:, :, None, None]
        for widen, block, side in zip(self.resized, self.blocks, self.sides, strict=True):
            x = widen(x)
            x = block(x if x.shape[-1] == side else _resized(x, side))
        return self.last(x)


class TorchR3GANDiscriminator(nn.Module):
    def __init__(self, size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.sides = [max(4, size >> i) for i in range(len(widths))]
        self.resized = nn.ModuleList(
            nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity() for a, b in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.blocks = nn.ModuleList(TorchBlock(w, w // 2) for w in widths)
        self.basis = nn.Parameter(torch.randn(1, widths[-1], self.sides[-1], self.sides[-1]) / self.sides[-1])
        self.head = nn.Linear(widths[-1], 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for widen, block, side in zip(self.resized, self.blocks, self.sides, strict=True):
            x = block(widen(x if x.shape[-1] == side else _resized(x, side)))
        return self.head((x * self.basis).sum((2, 3))).squeeze(1)


def r3gan(size: int = 32, batch_size: int = 32) -> Step:
    """Twin of `steps.r3gan_step`."""
    generator = _placed(TorchR3GANGenerator(size, (96, 96, 64, 32)))
    discriminator = _placed(TorchR3GANDiscriminator(size, (32, 64, 96, 96)))
    images = _images(batch_size, size)

    def d_loss(real: Tensor, fake: Tensor) -> Tensor:
        real, fake = (x.detach().requires_grad_() for x in (real, fake))
        real_logits, fake_logits = discriminator(real), discriminator(fake)
        penalty = (_squared_gradient_norm(real_logits, real) + _squared_gradient_norm(fake_logits, fake)) / 2
        return (F.softplus(fake_logits - real_logits) + penalty).mean()

    g_loss = lambda fake: F.softplus(discriminator(images) - discriminator(fake)).mean()
    return _alternating(generator, discriminator, images, lambda: _normal(batch_size, 64), d_loss, g_loss, (0.0, 0.99))


# Improved GAN's semi-supervised MNIST


class WeightNormDense(nn.Module):
    def __init__(self, a: int, b: int, learn_scale: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.1 * torch.randn(b, a)), nn.Parameter(torch.zeros(b))
        self.scale = nn.Parameter(torch.ones(b), requires_grad=learn_scale)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (self.scale / self.weight.norm(dim=1))[:, None], self.bias)


class TorchClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [784, 1000, 500, 250, 250, 250]
        self.hidden = nn.ModuleList(WeightNormDense(a, b) for a, b in itertools.pairwise(widths))
        self.last = WeightNormDense(250, 10, learn_scale=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for i, layer in enumerate(self.hidden):
            x = F.relu(layer(x + (0.5 if i else 0.3) * torch.randn_like(x)))
        return self.last(x + 0.5 * torch.randn_like(x)), x


class SoftplusGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(100, 500, bias=False), nn.Linear(500, 500, bias=False)])
        self.norms = nn.ModuleList(nn.BatchNorm1d(500, 1e-6) for _ in range(2))
        for norm in self.norms:
            norm.weight.requires_grad_(False)
        self.last = WeightNormDense(500, 784, learn_scale=True)

    def forward(self, z: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            z = F.softplus(norm(layer(z)))
        return torch.sigmoid(self.last(z))


def improved_gan(batch_size: int = 100) -> Step:
    """Twin of `steps.improved_gan`."""
    generator, classifier = SoftplusGenerator().to(DEVICE), TorchClassifier().to(DEVICE)
    labelled, unlabelled = torch.rand(2, batch_size, 784, device=DEVICE)
    labels = torch.randint(10, (batch_size,), device=DEVICE)

    def d_loss(real: Tensor, fake: Tensor) -> Tensor:
        origin = lambda x: torch.logsumexp(classifier(x)[0], 1)
        supervised = F.cross_entropy(classifier(labelled)[0], labels)
        return supervised + 0.5 * (F.softplus(-origin(real)) + F.softplus(origin(fake))).mean()

    def g_loss(fake: Tensor) -> Tensor:
        return (classifier(unlabelled)[1].mean(0) - classifier(fake)[1].mean(0)).square().mean()

    return _alternating(generator, classifier, unlabelled, lambda: torch.rand(batch_size, 100, device=DEVICE), d_loss, g_loss)


STEPS: dict[str, Callable[..., Step]] = {
    'dcgan': dcgan,
    'sngan': sngan,
    'wgan_gp': wgan_gp,
    'pix2pix': pix2pix,
    'cyclegan': cyclegan,
    'unrolled_ring': unrolled_ring,
    'r3gan': r3gan,
    'improved_gan': improved_gan,
}
"""Name -> factory of a `Step`, with the names and keywords of `steps.STEPS`."""
