"""What is to be run and recorded: a command, its seeds, and which of its figures count.

Settings are to be chosen on other seeds than those of the row. A row that has been recorded keeps what it was run with in its
file until it is recorded again. A new row is a new entry of `PROTOCOL`. A note on its figures is added to the file after the row
has been recorded, and is removed when the row is recorded again.
"""

from collections.abc import Iterator
from typing import Any

from experiments.mode_collapse.recipes import EVERY_METHOD
from experiments.mode_collapse.report import PUBLISHED, SOURCES
from experiments.results import columns
from experiments.results.rows import Column, Line, Picture, Reference, Row
from gan_jax.divergences import DIVERGENCES


def _row(
    name: str, section: str, label: str, command: str, figures: tuple[Column, ...], seeds: int = 3, first: int = 0, **more: Any
) -> Row:
    """A row of seeds `first`, `first + 1`, ... of `python -m experiments.COMMAND`."""
    return Row(
        name, section, label, f'python -m experiments.{command}', figures, seeds=tuple(range(first, first + seeds)), **more
    )


def _picture(name: str, shows: str, copied_from: str = 'samples.png') -> tuple[Picture, ...]:
    return (Picture(f'{name}.png', shows, copied_from),)


def _perfect(modes: int, kl: float) -> tuple[Reference, ...]:
    """Of 2,500 samples of a mixture in the plane: 1 - exp(-4.5) of them lie within 3 standard deviations."""
    values = {'modes': modes, 'high quality': 0.98889, 'reverse KL': kl, 'modes at the best': modes}
    return (Reference('a perfect sampler', values),)


TITLES = {
    'digits': 'digits', 'mnist': 'MNIST', 'fashion_mnist': 'Fashion-MNIST', 'cifar10': 'CIFAR-10', 'dcgan': 'DCGAN',
    'wgan_gp': 'WGAN-GP', 'sngan': 'SNGAN', 'r3gan': 'R3GAN', 'stylegan2': 'StyleGAN2', 'none': 'R1 alone',
    'diff_augment': 'DiffAugment', 'ada': 'ADA', 'lecam': 'LeCam', 'bcr': 'bCR',
}  # fmt: skip
"""Of data sets and methods."""


# Experiments of one network on images.

DCGAN = '--batch-size 64 --width 32 --latent-size 64 --clusters 0'
NARROW = '--batch-size 64 --width 16 --latent-size 64 --clusters 0 --steps 3000'
"""Of rows that compare many methods: a minute of one core with AVX-512 for each seed."""
LOSSES = {
    'minimax': '--objective minimax --penalties --optimizers adam:learning_rate=5e-4',
    'non_saturating': '--objective non_saturating --penalties --optimizers adam:learning_rate=1e-3',
    'least_squares': '--objective least_squares --penalties --optimizers adam:learning_rate=1e-3',
    'wasserstein_clipping': '--objective wasserstein --penalties --discriminator-steps 1 --optimizers wgan:learning_rate=2e-4',
    'wasserstein_gp': '--objective wasserstein --penalties wgan_gp:weight=10 --d-norm none '
    '--optimizers adam:learning_rate=1e-3,beta1=0,beta2=0.9',
    'dragan': '--objective non_saturating --penalties dragan:weight=10 --d-norm none --optimizers adam:learning_rate=1e-3',
    'hinge': '--objective hinge --penalties --optimizers adam:learning_rate=1e-3',
    'rpgan_r1_r2': '--objective relativistic --penalties r1:gamma=1 r2:gamma=1 --d-norm none '
    '--optimizers adam:learning_rate=1e-3',
}
"""Each with the best of three learning rates, 2e-4, 5e-4 and 1e-3 (of weight clipping a quarter or a fifth), on seed 100."""
LUCIC = {
    'mnist': {
        'minimax': '9.8', 'non_saturating': '6.8', 'least_squares': '7.8', 'wasserstein_clipping': '6.7',
        'wasserstein_gp': '20.3', 'dragan': '7.6',
    },
    'fashion_mnist': {
        'minimax': '29.6', 'non_saturating': '26.5', 'least_squares': '30.7', 'wasserstein_clipping': '21.5',
        'wasserstein_gp': '24.5', 'dragan': '27.7',
    },
}  # fmt: skip
"""FIDs after 15,625 steps and a search of 100 settings, for their order."""


def _images() -> Iterator[Row]:
    ours = columns.IMAGES
    yield _row('dcgan_digits', 'dcgan', 'digits', 'dcgan', ours, 5, pictures=_picture('dcgan_digits', '64 samples on the digits'))
    yield _row('dcgan_digits_plain', 'dcgan', 'digits, latents without clusters', 'dcgan --clusters 0', ours, 5)
    for data, seeds, flags in (
        ('mnist', 5, '--batch-size 32 --width 32 --latent-size 16 --clusters 30 --steps 12000'),
        ('fashion_mnist', 3, f'{DCGAN} --steps 12000'),
        ('cifar10', 1, '--batch-size 64 --width 32 --latent-size 128 --clusters 0 --steps 30000'),
    ):
        shown = _picture(f'dcgan_{data}', f'64 samples on {TITLES[data]}')
        yield _row(f'dcgan_{data}', 'dcgan', TITLES[data], f'dcgan --dataset {data} {flags}', ours, seeds, pictures=shown)
        if data == 'mnist':
            plain = f'dcgan --dataset mnist {DCGAN} --steps 12000'
            yield _row('dcgan_mnist_plain', 'dcgan', 'MNIST, latents without clusters', plain, ours, 5)
    for data in ('mnist', 'fashion_mnist'):
        for loss, flags in LOSSES.items():
            command = f'dcgan --dataset {data} {NARROW} {flags}'
            label = f'{TITLES[data]}, {loss.replace("_", " ")}'
            found = LUCIC[data].get(loss)
            source = "Lucic et al. 2018, 15,625 steps, of Inception's features" if found else ''
            lines = (Line(published=f'FID {found}' if found else '', source=source),)
            base = f'losses_{data}_non_saturating'
            yield _row(f'losses_{data}_{loss}', 'losses', label, command, ours, 5, lines=lines, baseline=base)
    for name, scores, source in (
        ('wgan_gp', 'Inception score 7.86 ± .07 on CIFAR-10', 'Gulrajani et al. 2017, 100,000 steps'),
        ('sngan', 'Inception score 8.22 ± .05, FID 21.7 on CIFAR-10', 'Miyato et al. 2018, 50,000 steps'),
    ):
        both = (Line('present generator', '', scores, source), Line('average of G', 'average of G'))
        command = f'{name} --dataset fashion_mnist --g-width 16 --d-width 16 --steps 1500'
        shown = _picture(f'{name}_fashion_mnist', 'The first 64 samples of seed 0')
        yield _row(
            f'{name}_fashion_mnist', 'residual', f'{TITLES[name]}, Fashion-MNIST', command, ours, lines=both, pictures=shown
        )


def _conditioned() -> Iterator[Row]:
    for condition, source in (
        ('auxiliary_classifier', 'Odena et al. 2017'),
        ('projection', 'Miyato and Koyama 2018'),
        ('concatenation', 'Mirza and Osindero 2014'),
    ):
        command = f'conditional_gan --condition {condition} --steps 6000'
        label = f'MNIST, {condition.replace("_", " ")} ({source}), 6,000 steps'
        shown = _picture(f'conditional_{condition}', 'Ten classes, ten latents')
        yield _row(f'conditional_{condition}', 'conditional', label, command, columns.CONDITIONAL, pictures=shown)
    for name, flags in (('cls', ''), ('cls_any', ' --mismatches any'), ('gan', ' --method gan')):
        labels = {
            'cls': 'GAN-CLS, false captions nearly true',
            'cls_any': "GAN-CLS, other images' captions",
            'gan': 'plain conditional',
        }
        shown = _picture('text_to_image_cls', 'A real image and samples for each caption of seed 0') if name == 'cls' else ()
        command = f'text_to_image --steps 6000{flags}'
        yield _row(f'text_to_image_{name}', 'text_to_image', labels[name], command, columns.CAPTIONS, pictures=shown)
    source = 'Salimans et al. 2016, table 1; mean and standard deviation of 10 splits, 180,000 steps'
    lines = (
        Line('labels alone', 'labels_alone'),
        Line('and unlabelled images', 'semi_supervised', '93 ± 6.5', source),
    )
    shown = _picture('few_labels', 'Errors over the steps', 'errors.png')
    yield _row(
        'few_labels', 'few_labels', '100 labels', 'semi_supervised --steps 24000', columns.ERRORS, lines=lines, pictures=shown
    )


def _others() -> Iterator[Row]:
    for name, title, more in (('infogan', 'InfoGAN', columns.CATEGORIES), ('bigan', 'BiGAN', columns.INVERTED)):
        command = f'{name} --width 16 --batch-size 32 --steps 5000'
        shown = _picture(f'{name}_digits', f'Samples of {title}')
        yield _row(f'{name}_digits', 'inferred', title, command, columns.IMAGES + more, pictures=shown)
    shown = _picture('biggan_digits', 'Samples of BigGAN, a class in each row')
    yield _row(
        'biggan_digits', 'conditional', 'digits, BigGAN, 1,000 steps', 'biggan --steps 1000', columns.CONDITIONAL, pictures=shown
    )
    for flow_steps, label in ((1, 'one step'), (4, 'four steps')):
        name = f'adversarial_flow_mnist_{flow_steps}'
        command = (
            f'adversarial_flow_images --dataset mnist --width 16 --g-width 1024 --g-norm batch --flow-steps {flow_steps} '
            '--penalties r1:gamma=10 r2:gamma=10 --optimizers adam:learning_rate=5e-4,beta1=0,beta2=0.9 --steps 2000'
        )
        shown = _picture(name, f'The first 64 samples of seed 0 of a flow in {label}')
        yield _row(name, 'flow_images', f'MNIST, {label}, 2,000 steps of training', command, columns.IMAGES, pictures=shown)
    for name, title, command, sizes in (
        ('lapgan_fashion', 'Fashion-MNIST', 'lapgan --dataset fashion_mnist --steps 45000', (7, 14, 28)),
        ('lapgan_cifar10', 'CIFAR-10', 'lapgan', (8, 16, 32)),
    ):
        levels = tuple(Line(f'stage of {size} pixels', f'level_{2 - index}') for index, size in enumerate(sizes))
        shown = _picture(name, 'The stages of samples, and of real images', 'stages.png')
        lines = (Line('samples', 'classifier'), *levels)
        yield _row(name, 'lapgan', title, command, columns.LAPGAN, lines=lines, pictures=shown)
    shown = (*_picture('ebgan_mnist', 'Samples'), *_picture('ebgan_energies', 'Energies of images and samples', 'energies.png'))
    yield _row('ebgan_mnist', 'ebgan', 'MNIST', 'ebgan', columns.EBGAN, pictures=shown)
    ways = (Line('from the right answer', 'from the right answer'), Line('round trip', 'round trip'))
    shown = _picture('cyclegan_mnist', 'Digits to inverted digits and back, held out', 'validation.png')
    yield _row('cyclegan_mnist', 'cyclegan', 'MNIST', 'cyclegan --dataset mnist', columns.TRANSLATED, lines=ways, pictures=shown)
    command = 'cyclegan --task facades --steps 500 --batch-size 4 --receptive-field 34'
    yield _row('cyclegan_facades', 'cyclegan', 'facades, 64 pixels, 500 steps', command, columns.TRANSLATED, lines=ways)
    models = (Line('pix2pix', 'pix2pix'), Line('L1 alone', 'L1 alone'))
    for size, flags in ((64, '--steps 4000'), (128, '--size 128 --receptive-field 70 --steps 4000')):
        features = '--compare-features squeezenet:path=squeezenet_v1.1_notop.npz'
        command = f'pix2pix --dataset facades {flags} {features}'
        yield _row(
            f'pix2pix_facades_{size}', 'pix2pix', f'{size} pixels', command, columns.PAIRS, 3 if size == 64 else 1, lines=models
        )


# The methods of today.

LIMITED = {
    'none': '--penalties r1:gamma=1',
    'diff_augment': '--penalties r1:gamma=1 --augmentations diff_augment',
    'ada': '--penalties r1:gamma=1 --augmentations ada',
    'lecam': '--penalties r1:gamma=1 --regularizers lecam',
    'bcr': '--penalties r1:gamma=1 --regularizers bcr',
}


BASELINES = {
    'fashion_mnist': {'dcgan': 6000, 'r3gan': 550, 'stylegan2': 1850},
    'cifar10': {'dcgan': 1700, 'r3gan': 140, 'stylegan2': 830},
}
"""Steps that take one seed some four minutes (Fashion-MNIST) or two (CIFAR-10) of one core with AVX-512, by short trials."""


def _today() -> Iterator[Row]:
    for data, budget in BASELINES.items():
        for name, steps in budget.items():
            narrow = DCGAN if name == 'dcgan' else '--width 16'
            if name == 'r3gan':  # a tenth of the run; the default is longer than it
                narrow += f' --anneal learning_rate gamma beta2 half_life:end={64 * steps // 10}'
            command = f'{name} --dataset {data} {narrow} --steps {steps}'
            shown = _picture(f'baselines_{data}_{name}', f'The first 64 samples of {TITLES[name]} on {TITLES[data]}')
            label = f'{TITLES[data]}, {TITLES[name]}, {steps:,} steps'
            base = f'baselines_{data}_dcgan'
            yield _row(f'baselines_{data}_{name}', 'baselines', label, command, columns.IMAGES, pictures=shown, baseline=base)
    for images in (1000, 5000):
        for name, flags in LIMITED.items():
            command = f'dcgan --dataset fashion_mnist:train[:{images}] {NARROW} {flags}'
            label = f'{images:,} images, {TITLES[name]}'
            base = f'limited_{images}_none'
            yield _row(f'limited_{images}_{name}', 'limited', label, command, columns.IMAGES, baseline=base)
    for name, title, dataset, steps, flags in (
        ('vae_gan', 'VAE-GAN', 'mnist', 1500, ''),
        ('adversarial_autoencoder', 'adversarial autoencoder', 'mnist', 5000, ''),
        ('vqgan', 'VQGAN', 'mnist', 2000, ''),
        ('vqgan', 'VQGAN', 'cifar10', 1000, ' --start 400'),
    ):
        both = (Line('with D', title), Line('without D', 'without D'))
        command = f'{name} --dataset {dataset} --steps {steps}{flags}'
        label = f'{title}{"" if dataset == "mnist" else f" on {TITLES[dataset]}"}, {steps:,} steps'
        figures = columns.RECONSTRUCTED + (columns.CODES if name == 'vqgan' else ())
        kind = 'digits' if dataset == 'mnist' else 'images'
        shown = _picture(f'{name}_{dataset}', f'Held-out {kind}, without D, and by the {title}', 'reconstructions.png')
        yield _row(f'{name}_{dataset}', 'autoencoders', label, command, figures, lines=both, pictures=shown)
    lines = tuple(Line(f'weight {weight}', weight) for weight in ('0', '0.05'))
    shown = _picture('adversarial_flow', 'The maps of all seeds, and the increasing one in grey', 'maps.png')
    name = 'adversarial_flow'
    yield _row(name, 'flow', 'four Gaussians', name, columns.TRANSPORT, 10, lines=lines, pictures=shown)
    lines = tuple(map(Line, ('two passes', 'one pass', 'finite differences'), ('rpgan_r1_r2', 'rpgan_one_pass', 'rpgan_finite')))
    command = f'mode_collapse --data ring --methods {" ".join(line.path for line in lines)}'
    yield _row('penalties_ring', 'penalties', 'ring', command, columns.PENALTIES, 10, lines=lines)


# Mixtures and stacked digits.

RATES = '--schedule constant --optimizers adam:learning_rate=1e-3,beta1=0.5,discriminator_rate=1e-4'
CURVES = {
    ('ring', 5000): {'unrolled:steps=5': '6.2 modes, 6 %', 'wasserstein_gp': '5.2 modes, 2.5 %'},
    ('ring', 25_000): {'unrolled:steps=5': '7.6 modes, 31 %', 'wasserstein_gp': '6.8 modes, 60 %'},
    ('grid', 5000): {'unrolled:steps=5': '20.6 modes, 2.5 %', 'wasserstein_gp': '15.8 modes, 5 %'},
    ('grid', 25_000): {'unrolled:steps=5': '23 modes, 4 %', 'wasserstein_gp': '24.2 modes, 29 %'},
}
"""Of GDPP's figures, read off: modes and high quality."""
PACKED = {'gan': '427 modes, KL 3.163', 'wasserstein_gp': '995 modes, KL .148'}
"""Of GDPP's table on stacked MNIST."""


def published(data: str, method: str) -> Line:
    """The line of a method of `experiments.mode_collapse`, with what papers have, where that was checked."""
    text = PUBLISHED.get((data, method), '').replace('+-', '±')
    if not text or 'unverified' in text:
        return Line(method, method)
    return Line(method, method, text, '; '.join(f'{tag}: {source}' for tag, source in SOURCES.items() if f'({tag}' in text))


def _mixtures() -> Iterator[Row]:
    chosen = lambda lines: f'--methods {" ".join(line.path for line in lines)}'
    perfect = {'ring': _perfect(8, 0.0014), 'grid': _perfect(25, 0.0048)}
    lines = (Line('K = 0', '0'), Line('K = 10', '10'))
    command = 'unrolled_gan --steps 30000 --schedule cosine:end=0.01'
    shown = _picture('unrolled_ring', 'Samples of one seed over training')
    own = (Reference('a perfect sampler', {'modes': 8, 'high quality': 0.98889}),)
    yield _row(
        'unrolled_ring', 'unrolled', '30,000 steps', command, columns.MODES, 10, lines=lines, references=own, pictures=shown
    )
    for data in ('ring', 'grid'):
        shown = _picture(f'mode_collapse_{data}', 'Samples of one seed over training, a row for each method')
        command, methods = f'mode_collapse --data {data}', tuple(published(data, name) for name in EVERY_METHOD)
        more: dict[str, Any] = {'lines': methods, 'references': perfect[data], 'pictures': shown, 'baseline': 'gan'}
        yield _row(f'mode_collapse_{data}', 'mode_collapse', data, command, columns.COLLAPSE, 10, **more)
        for steps in (5000, 25_000):
            values, source = CURVES[data, steps], f'Elfeki et al. 2019, {steps:,} steps, off its curves'
            compared = tuple(
                Line(name, name, values.get(name, ''), source if name in values else '')
                for name in ('unrolled:steps=5', 'wasserstein_gp', 'rpgan_r1_r2')
            )
            command = f'mode_collapse --data {data} --batch-size 512 --latent-size 256 --steps {steps} {RATES} {chosen(compared)}'
            more = {'lines': compared, 'references': perfect[data], 'baseline': 'unrolled:steps=5'}
            yield _row(f'gdpp_{data}_{steps}', 'gdpp', f'{data}, {steps:,} steps', command, columns.COLLAPSE, 10, **more)
        packs = tuple(Line(name, name) for name in ('gan', *(f'packing:size={n},keep=packs' for n in (2, 3, 4))))
        recipe = '--batch-size 100 --steps 25000 --schedule constant --optimizers adam:learning_rate=1e-4,beta1=0.8'
        command = f'mode_collapse --data {data} {recipe} {chosen(packs)}'
        label = f"{data}, a batch of as many packs as PacGAN's code has, 25,000 steps"
        more = {'lines': packs, 'references': perfect[data], 'baseline': 'gan'}
        yield _row(f'pacgan_{data}', 'mode_collapse', label, command, columns.COLLAPSE, 10, **more)


def _stacked() -> Iterator[Row]:
    rates = '--optimizers adam:learning_rate=5e-4,beta1=0.5,beta2=0.99,discriminator_rate=1e-3'  # chosen on seed 100
    lines = (Line('K = 0', 'gan'), Line('K = 5', 'unrolled:steps=5'))
    command = (
        'mode_collapse --data stacked_mnist --networks metz_quarter --batch-size 60 --steps 1500 --evaluations 10 '
        f'--samples 10000 {rates} --methods {" ".join(line.path for line in lines)}'
    )
    label = "Metz et al.'s networks, D = 1/4, 1,500 steps of 60"
    yield _row('stacked_mnist_quarter', 'stacked_mnist', label, command, columns.STACKED, lines=lines)
    optimizers = '--optimizers adam:learning_rate=1e-4,beta1=0.5,beta2=0.9 --learning-rate 1e-4'
    recipe = f'mode_collapse --data stacked_mnist --networks veegan --batch-size 64 --steps 15000 --samples 26000 {optimizers}'
    for method in ('gan', 'wasserstein_gp', 'unrolled:steps=5', 'packing:size=2', 'rpgan_r1_r2', 'madgan'):
        source = "Elfeki et al. 2019, 15,000 steps of 64, the authors' table" if method in PACKED else ''
        line = (Line(path=method, published=PACKED.get(method, ''), source=source),)
        name = f'stacked_mnist_{method.partition(":")[0]}'
        yield _row(
            name, 'stacked_mnist', f'{method}, 15,000 steps of 64', f'{recipe} --methods {method}', columns.STACKED, lines=line
        )


# Theory.


def _theory() -> Iterator[Row]:
    objectives = ('minimax', 'non_saturating', 'wasserstein', 'least_squares', 'hinge', 'relativistic', 'relativistic_average')
    lines = (*(Line(name.replace('_', ' '), name) for name in objectives), Line('f-GAN, KL', 'f_gan:divergence=kl'))
    shown = _picture('ring_sweep', 'Samples of one seed under every objective and penalty')
    # The recipe was found on seeds 0 to 2.
    yield _row('ring_sweep', 'ring_sweep', 'ring', 'ring --sweep', columns.SWEEP, 7, 3, lines=lines, pictures=shown)
    regularisers = {
        'none': 0, 'R1, gamma = .5': 1, 'R1, gamma = 1': 2, 'R1, gamma = 2': 3, 'Roth, gamma = 1': 9,
        'instance noise, sigma = 1': 12, 'WGAN-GP, weight .1': 4,
    }  # fmt: skip
    cases = tuple(Line(f'minimax, {name}', str(index)) for name, index in regularisers.items())
    shown = _picture('dirac_gan', 'Vector fields and trajectories', 'trajectories.png')
    command = 'python -m experiments.dirac_gan'
    note = (
        'R2 has the figures of R1. The field of WGAN-GP and DRAGAN jumps at the equilibrium, so it has no eigenvalues there; '
        'weights of WGAN-GP from about 1 on come to rest at a false point. The bare non-saturating game has the linear part of '
        'the minimax game but does not diverge.'
    )
    yield Row('dirac_gan', 'dirac_gan', 'Dirac-GAN', command, columns.DIRAC, cases, pictures=shown, note=note)
    pairs = ('gaussians', 'scales', 'mixture')
    titles = ('N(0, 1), N(2, 1)', 'N(0, 1), N(0, 4)', 'two bumps, one Gaussian of their mean and variance')
    lines = tuple(map(Line, titles, pairs))
    shown = _picture('optimal_discriminator', 'D on D*, and V(D) over training', 'discriminators.png')
    name = 'optimal_discriminator'
    yield _row(name, name, 'MLP', name, columns.OPTIMAL, 5, lines=lines, pictures=shown)
    losses = ('minimax', 'non_saturating', 'minimax_noise', 'wasserstein_gp', 'wasserstein_clipping')
    lines = tuple(Line(loss.replace('_', ' '), loss) for loss in losses)
    shown = _picture('vanishing_gradients', "The generator's gradient as D gets better", 'gradients.png')
    yield _row(
        'vanishing_gradients',
        'vanishing_gradients',
        'ring',
        'vanishing_gradients',
        columns.GRADIENTS,
        5,
        lines=lines,
        pictures=shown,
    )
    lines = tuple(Line(name.replace('_', ' '), name) for name in DIVERGENCES)
    shown = _picture('f_gan', 'One Gaussian under every divergence', 'fits.png')
    yield _row('f_gan', 'f_gan', 'mixture of two', 'f_gan', columns.F_GAN, 5, lines=lines, pictures=shown)
    models = tuple(Line(name.upper(), name) for name in ('vae', 'made', 'rbm', 'gsn', 'gan'))
    shown = _picture('taxonomy_mnist', 'Samples of one seed, a row for each model')
    yield _row('taxonomy_mnist', 'taxonomy', 'MNIST', 'taxonomy', columns.TAXONOMY, 3, lines=models, pictures=shown)


def _planted() -> Iterator[Row]:
    new = Line('new images', 'new images')
    copies = ('copies:share=0.001', 'copies:share=0.01', 'copies:share=0.1', 'copies:share=0.1,shift=1')
    titles = ('.1 % copies', '1 % copies', '10 % copies', '10 % copies, shifted by a pixel')
    copied = (new, *map(Line, titles, copies))
    failures = {
        'dropped': 'two of ten classes dropped', 'duplicates': 'a tenth of the images, ten times each',
        'blur': 'blur of one pixel', 'noise': 'noise of .1', 'resize': 'shrunk by half and enlarged, nearest pixel',
    }  # fmt: skip
    others = (new, *(Line(title, kind) for kind, title in failures.items()))
    for dataset in ('mnist', 'digits'):
        command = f'planted --dataset {dataset} --kinds'
        kinds = ' '.join(failures)
        yield _row(f'planted_{dataset}', 'planted', TITLES[dataset], f'{command} {kinds}', columns.PLANTED, 5, lines=others)
        name = f'planted_copies_{dataset}'
        yield _row(
            name,
            'planted',
            f'{TITLES[dataset]}, copies',
            f'{command} {" ".join(copies)}',
            columns.PLANTED_COPIES,
            5,
            lines=copied,
        )


PROTOCOL: dict[str, Row] = {
    row.name: row
    for rows in (_images(), _conditioned(), _others(), _today(), _mixtures(), _stacked(), _theory(), _planted())
    for row in rows
}
"""Rows without figures, by name."""
