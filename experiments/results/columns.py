"""The figures of each experiment: what they are, and where its `results.json` has them."""

from experiments.results.rows import Column

IMAGES = (
    Column('recognised', 'confident', '%', 'higher', digits=1),
    Column('recognised, held-out images', 'confident_real', '%', digits=1, verified=False),
    Column('class entropy', 'class_entropy', 'nats', digits=3),
    Column('Fréchet distance', 'frechet_distance', '', 'lower'),
    Column('Fréchet distance, training images', 'frechet_distance_training', verified=False),
    Column('nearest training image, ratio to held-out', 'neighbour_ratio', digits=2),
)
"""Of `experiments.shared.image_gan`."""

CATEGORIES = (
    Column('information in the category', 'information_0', 'nats', 'higher', digits=3),
    Column('images whose category is their class', 'category_accuracy', '%', 'higher', digits=1),
)
"""Of InfoGAN."""
INVERTED = (
    Column('linear classifier on codes', 'probe_codes', '%', 'higher', digits=1),
    Column('on pixels', 'probe_pixels', '%', digits=1, verified=False),
    Column('L1 of reconstructions', 'reconstruction/l1', '', 'lower', digits=3),
)
"""Of BiGAN."""
CONDITIONAL = (
    Column('read as their label', 'accuracy', '%', 'higher', digits=2),
    Column('read so, held-out images', 'accuracy_real', '%', digits=2, verified=False),
    Column('variance within a class', 'class_variance', digits=0),
    Column('variance, held-out images', 'class_variance_real', digits=0, verified=False),
    Column('Fréchet distance', 'frechet_distance', '', 'lower'),
    Column('Fréchet distance, training images', 'frechet_distance_training', verified=False),
)
ERRORS = (Column('errors', '', 'of 10,000', 'lower', digits=0),)
MODES = (
    Column('modes', 'modes', '', 'higher', digits=2),
    Column('high quality', 'high_quality', '%', 'higher', digits=1),
    Column('reverse KL', 'reverse_kl', 'nats', 'lower', digits=2),
)
COLLAPSE = (
    Column('modes', 'last/modes', '', 'higher', digits=1),
    Column('high quality', 'last/high_quality', '%', 'higher', digits=1),
    Column('reverse KL', 'last/reverse_kl', 'nats', 'lower', digits=2),
    Column('modes at the best', 'best/modes', '', 'higher', digits=1),
)
PENALTIES = (*COLLAPSE, Column('training', 'seconds', 's', 'lower', digits=0, verified=False))
RECONSTRUCTED = (
    Column('L1', 'l1', '', 'lower', digits=4),
    Column('PSNR', 'psnr', 'dB', 'higher', digits=2),
    Column('sharpness, as a share of the images', 'sharpness', '%', digits=1),
    Column('Fréchet distance', 'frechet_distance', '', 'lower'),
)
"""Of `experiments.shared.autoencoders`."""
CODES = (Column('codes used', 'codes_used', '%', 'higher', digits=0),)
TRANSPORT = (
    Column('distance from the optimal map', 'from_optimal_map', '', 'lower', digits=3),
    Column('W2 from the data', 'wasserstein_2', '', 'lower', digits=3),
    Column('cost', 'cost', '', 'lower', digits=3),
    Column('least cost', 'least_cost', digits=3, verified=False),
)
STACKED = (
    Column('modes', 'last/modes', 'of 1,000', 'higher', digits=0),
    Column('KL', 'last/kl', 'nats', 'lower', digits=2),
    Column('recognised', 'last/recognised', '%', 'higher', digits=0),
    Column('modes at the best', 'best/modes', 'of 1,000', 'higher', digits=0),
)
LAPGAN = (
    Column('recognised', 'confident/samples', '%', 'higher', digits=1),
    Column('recognised, held-out images', 'confident/held-out', '%', digits=1, verified=False),
    Column('class entropy', 'class_entropy/samples', 'nats', digits=2),
    Column('Fréchet distance', 'frechet_distance/samples', '', 'lower'),
    Column('Fréchet distance, training images', 'frechet_distance/training', verified=False),
    Column('distance in pixels', 'frechet_cascade', '', 'lower'),
    Column('distance in pixels, given real', 'frechet_level', '', 'lower'),
    Column('distance in pixels, training images', 'frechet_training', verified=False),
)
EBGAN = (
    Column('energy', 'generated/energy', digits=2),
    Column('energy, held-out images', 'held-out/energy', digits=2),
    Column('recognised', 'generated/confident', '%', 'higher', digits=1),
    Column('recognised, held-out images', 'held-out/confident', '%', digits=1, verified=False),
    Column('class entropy', 'generated/class_entropy', 'nats', digits=3),
    Column('Fréchet distance', 'generated/frechet_distance', '', 'lower'),
    Column('Fréchet distance, training images', 'training/frechet_distance', verified=False),
)
TRANSLATED = (
    Column('A to B', 'a_to_b', '', 'lower', digits=4),
    Column('B to A', 'b_to_a', '', 'lower', digits=4),
    Column('mean training image, A to B', '/  mean training image/a_to_b', digits=4, verified=False),
    Column('mean training image, B to A', '/  mean training image/b_to_a', digits=4, verified=False),
)
PAIRS = (
    Column('L1', 'l1', '', 'lower', digits=4),
    Column('L1, mean photograph', '/mean training image/l1', digits=4, verified=False),
    Column('Fréchet distance', 'frechet_distance', '', 'lower', digits=0),
    Column('Fréchet distance, training photographs', '/training targets/frechet_distance', digits=0, verified=False),
    Column('kernel distance', 'kernel_distance', '', 'lower', digits=0),
)
CAPTIONS = (
    Column('all four right, seen', 'samples seen/all four', '%', 'higher', digits=1),
    Column('all four right, unseen', 'samples unseen/all four', '%', 'higher', digits=1),
    Column('unseen, real images', 'real unseen/all four', '%', digits=1, verified=False),
)
TAXONOMY = (
    Column('log p(x), exact', 'likelihoods/exact/0', 'nats', 'higher', digits=1),
    Column('log p(x), annealed estimate', 'likelihoods/estimate, annealed/0', 'nats', 'higher', digits=1),
    Column('log p(x), bound of 50 samples', 'likelihoods/bound, 50 importance samples/0', 'nats', 'higher', digits=1),
    Column('ELBO', 'likelihoods/bound, ELBO/0', 'nats', 'higher', digits=1),
    Column('passes a sample', 'passes', digits=0, verified=False),
    Column('a sample, alone', 'seconds_per_sample', 's', 'lower', digits=5, verified=False),
    Column('a sample of 100', 'seconds_per_sample_of_100', 's', 'lower', digits=5, verified=False),
    Column('recognised', 'recognised', '%', 'higher', digits=1),
    Column('class entropy', 'class_entropy', 'nats', digits=2),
)
DIRAC = (
    Column('largest real part of an eigenvalue', 'eigenvalues/0/0', '', 'lower'),
    Column('the same in theory', 'theory/0/0', verified=False),
    Column('distance, simultaneous steps', 'simultaneous_distance', '', 'lower'),
    Column('distance, alternating steps', 'alternating_distance', '', 'lower'),
)
OPTIMAL = (
    Column('V(D)', 'value', 'nats', digits=6),
    Column('V(D*) = -log 4 + 2 JSD', 'optimal_value', 'nats', digits=6, verified=False),
    Column('mean distance of D from D*', 'distance', '', 'lower', digits=4),
)
GRADIENTS = (
    Column('after 1 step of D', 'gradient/0'),
    Column('after 100', 'gradient/6'),
    Column('after 5,000', 'gradient/11'),
    Column("D's loss at the end", 'loss/11', 'nats'),
)
"""The numbers are places in `experiments.vanishing_gradients.moments(5000)`."""
F_GAN = (
    Column('least divergence', 'value', 'nats', digits=3, verified=False),
    Column('bound reached by V', 'bound', 'nats', digits=3),
    Column('best mu', 'mu', digits=3, verified=False),
    Column('fitted mu', 'mu_hat', digits=3),
    Column('best sigma', 'sigma', digits=3, verified=False),
    Column('fitted sigma', 'sigma_hat', digits=3),
)
SWEEP = tuple(
    Column(f'{title}: {kind}', f'/{{line}} {path}/{name}', unit, 'higher', digits=digits)
    for title, path in (
        ('none', 'none'),
        ('R1', 'r1:gamma=1'),
        ('R2', 'r2:gamma=1'),
        ('R1 + R2', 'r1:gamma=1+r2:gamma=1'),
        ('Roth', 'roth:gamma=1'),
        ('WGAN-GP', 'wgan_gp:weight=1'),
        ('DRAGAN', 'dragan:weight=1'),
    )
    for kind, name, unit, digits in (('modes', 'modes', '', 1), ('high quality', 'high_quality', '%', 0))
)
PLANTED = (
    Column('Fréchet distance', 'frechet_distance'),
    Column('kernel distance', 'kernel_distance'),
    Column('precision', 'precision', digits=3),
    Column('recall', 'recall', digits=3),
    Column('density', 'density', digits=3),
    Column('coverage', 'coverage', digits=3),
    Column('clipped density', 'clipped_density', digits=3),
    Column('clipped coverage', 'clipped_coverage', digits=3),
    Column('classifier score', 'classifier_score', digits=3),
    Column('Vendi score', 'vendi_score'),
)
"""Of `experiments.planted`: fidelity and diversity."""
PLANTED_COPIES = (
    Column('AuthPct', 'auth_pct', digits=2),
    Column('C_T', 'c_t', digits=2),
    Column('distance to the nearest, ratio to held-out', 'ratio', digits=3),
    Column('mean p-value of the ranks', 'p_value', verified=False),
    Column('nearer than all held-out', 'nearer', digits=1),
    Column('mean p-value of these', 'nearer_p_value', verified=False),
)
"""Of `experiments.planted`: novelty."""
