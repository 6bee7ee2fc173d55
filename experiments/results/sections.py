"""The sections of the page, in its order: what each compares, and what its figures mean."""

from typing import NamedTuple


class Section(NamedTuple):
    """A heading and the text below it."""

    title: str
    text: str
    compared: str = ''
    """The title of the column by which rows that have a `baseline` are compared with it."""


SECTIONS = {
    'dcgan': Section(
        'DCGAN',
        """\
Radford et al. 2016. The nearest training image is in pixels; a ratio to held-out images near 1 means that samples are not
copies. Latents in clusters (`latents.clustered`) make more samples readable, because no image between two modes has to be made;
they do not lower the Fréchet distance.""",
    ),
    'losses': Section(
        'Losses',
        """\
One narrow DCGAN under every loss, for 3,000 steps of 64 with one step of D each, after the protocol of Lucic et al. 2018, whose
budget is 15,625 steps and whose search is of 100 settings. Here each loss has the best of three learning rates on
Fashion-MNIST, on a seed that is in no row; the best was the largest for all but minimax. Distances are in the features of a
classifier, those of the paper in Inception's, so only their order can be compared. D has batch norm if there is no penalty.""",
        compared='Fréchet distance',
    ),
    'baselines': Section(
        'R3GAN and StyleGAN2 beside DCGAN',
        """\
Huang et al. 2024 and Karras et al. 2020, with narrow networks, for as many steps as take about as long as the DCGAN's on the
same CPU core: about five minutes a seed with evaluation, and half of that on CIFAR-10. Each row has the time of its three seeds.
These budgets are a small fraction of the published ones.""",
        compared='Fréchet distance',
    ),
    'limited': Section(
        'Few images',
        """\
The first 1,000 and 5,000 images of Fashion-MNIST, and what keeps D from memorising them: DiffAugment (Zhao et al. 2020), ADA
(Karras et al. 2020), LeCam (Tseng et al. 2021), and balanced consistency (Zhao et al. 2021, "ICR"). All have R1, and 3,000 steps
of 64, in which each image is seen some 200 or 40 times. The classifier, too, learns from these images alone, so figures compare
within one number of images only.""",
        compared='Fréchet distance',
    ),
    'autoencoders': Section(
        'Autoencoders with and without a discriminator',
        """\
Larsen et al. 2016, Makhzani et al. 2016 and Esser et al. 2021: reconstructions of held-out images, of MNIST unless a row names
another data set, by the model and by the same autoencoder without D.""",
    ),
    'inferred': Section(
        'Codes without labels',
        """\
Chen et al. 2016 (InfoGAN) and Donahue et al. 2017, Dumoulin et al. 2017 (BiGAN, ALI), with narrow networks on the digits.
A category holds at most log 10 = 2.303 nats. Categories are matched one to one to the classes of held-out images.""",
    ),
    'conditional': Section(
        'A class in each row',
        'Class-conditional GANs on the networks of DCGAN, 10,000 samples.',
    ),
    'few_labels': Section(
        'Few labels',
        """\
Salimans et al. 2016, section 5: permutation-invariant MNIST with 100 labels. Figures are errors on the 10,000 test images,
and every seed has its own labelled subset. The paper reports standard deviations over 10 splits.""",
    ),
    'unrolled': Section(
        'Unrolled GAN on the ring of 8 Gaussians',
        """\
Metz et al. 2017, appendix A: radius 2, standard deviation .02. A sample has high quality if it lies within 3 standard
deviations of its mode, and a mode is covered if it has such a sample. Counted on 2,500 samples.""",
    ),
    'mode_collapse': Section(
        'The cures for mode collapse, side by side',
        """\
One recipe for all methods: 5,000 steps of batch 60, two hidden layers of 128, Adam of 1e-3 decayed to 1/100. What belongs to a
method differs: both Wasserstein GANs take 5 steps of D, clipping with RMSProp, the penalties of R3GAN Adam without momentum,
and unrolling the minimax loss and simultaneous updates; a run prints these differences. The ring has radius 1 and standard
deviation .01; the grid has 25 modes of standard deviation .05, 2 apart. Published values on ring and grid are modes / high
quality in percent / reverse KL, of larger networks and, in PacGAN, 400,000 iterations: they differ by budget, not by method
alone. A mode counts with one sample near it, so modes without high quality say little. "(9 of 10)" is a mean over the seeds
whose figure is finite.""",
        compared='reverse KL',
    ),
    'gdpp': Section(
        "Ring and grid at GDPP's settings",
        """\
Batch 512, 256 latents, and for unrolling Adam of 1e-3 for G and 1e-4 for D, as in the authors' code of Elfeki et al. 2019.
WGAN-GP, with 5 steps of D, and RpGAN with R1 and R2 keep the optimizers of their papers, at 1e-3 for both players. Published
values are read off its curves.""",
        compared='high quality',
    ),
    'penalties': Section(
        'Exact and approximate penalties',
        """\
R1 and R2 of a relativistic GAN on the ring: by two passes, in one pass, and by finite differences. Times are of all seeds
together, with compilation; the second table has those of an image network's step.""",
    ),
    'flow': Section(
        'An adversarial flow on a line',
        """\
Lin et al. 2025: noise is moved to four Gaussians. Without a cost of transport (weight 0, a GAN) any map will do; with it, the
increasing map, which is known, is the only solution; after these steps it is not reached.""",
    ),
    'stacked_mnist': Section(
        'Stacked MNIST',
        """\
Three random digits in the channels of one image: 1,000 modes, counted by a classifier on each channel. "Recognised" is the
share of digits that it reads with probability .9 or more: argmax counts modes even in noise. A perfect sampler of n samples
has a KL of about 999 / (2n). Published values are modes / KL.""",
    ),
    'residual': Section(
        'WGAN-GP and SNGAN',
        """\
Gulrajani et al. 2017 and Miyato et al. 2018: the papers' residual networks, narrower. Samples are of the present generator,
as the papers draw them, and of the average of its parameters.""",
    ),
    'lapgan': Section(
        'LAPGAN',
        """\
Denton et al. 2015: a GAN for every level of a Laplacian pyramid. The distance of a level is the Fréchet distance of pixels
at its size, and "given real" starts from low-pass images of held-out ones.""",
    ),
    'ebgan': Section(
        'EBGAN',
        'Zhao et al. 2017: the discriminator is an autoencoder, and its error an energy.',
    ),
    'pix2pix': Section(
        'pix2pix',
        """\
Isola et al. 2017: facades from their labels, 100 validation pairs. L1 is the mean absolute difference from the photograph,
in [-1, 1]; distances are in the features of SqueezeNet 1.1, and are not an FID. The photographs are not ours to publish.""",
    ),
    'cyclegan': Section(
        'CycleGAN',
        """\
Zhu et al. 2017: two sets of images without pairs. Figures are mean absolute errors on held-out images, pixels in [0, 1].
MNIST to inverted MNIST has one right answer, which training never sees.""",
    ),
    'text_to_image': Section(
        'Text to image',
        """\
Reed et al. 2016, on captioned digits: the share of samples on which a classifier and the pixels find digit, colour, place
and size as the caption says. In unseen combinations the digit was never shown in that colour. By chance it is .0017.""",
    ),
    'flow_images': Section(
        'An adversarial flow on images',
        'Lin et al. 2025, with a fully connected generator, in one step or several. Settings were chosen on seed 100.',
    ),
    'ring_sweep': Section(
        'Every objective under every penalty',
        """\
The ring of 8 Gaussians at the scale of WGAN-GP's toy script: 3,000 steps, 2 of D each, batch 64, Adam of 1e-3, rates and
penalties decayed to 1/100. `STABLE` in `experiments/ring/pairs.py` lists the pairs that a paper calls stable.""",
    ),
    'taxonomy': Section(
        'The taxonomy, measured',
        """\
Goodfellow 2016: five kinds of generative models on the same binarised MNIST. Published likelihoods are of larger networks
and far longer training.""",
    ),
    'dirac_gan': Section(
        'The Dirac-GAN',
        """\
Mescheder et al. 2018: the eigenvalues of the linearised game at the equilibrium, from the objectives and penalties of the
library, and the distance from it after 2,000 steps of .1 from (1, 1). The game is deterministic.""",
    ),
    'optimal_discriminator': Section(
        'The optimal discriminator',
        """\
Goodfellow et al. 2014, proposition 1: a network trained on two known densities, against p / (p + q). Values are by
quadrature.""",
    ),
    'vanishing_gradients': Section(
        'Vanishing gradients',
        "Arjovsky and Bottou 2017, figures 2 and 3: the norm of the generator's gradient as D alone trains.",
    ),
    'f_gan': Section(
        'One Gaussian for a mixture of two',
        """\
Nowozin et al. 2016: the optimum of each f-divergence by quadrature, and adversarial fits. KL covers both modes; reverse KL
and Neyman seek one.""",
    ),
    'dcgan_analysis': Section(
        "What DCGAN's paper did with a trained network",
        'Radford et al. 2016, sections 5 and 6, on the DCGAN of MNIST without clusters above.',
    ),
    'planted': Section(
        'Planted failures',
        """\
Real images, damaged in a known way, so that it is known what a metric should find. Each seed divides the data set anew into
training, held-out and new images. Distances to the nearest training image are of pixels, other figures of the features of the
classifier.""",
    ),
    'sample_efficiency': Section(
        'How many samples a metric needs',
        """\
Subsets of 1,000 and 5,000 training images and samples of a DCGAN, drawn ten times, and one of 50,000, in the features of a
classifier. The bias is relative to the value of all 60,000 and 50,000, and the separation is from as many held-out real
images: below about 3, one value does not tell samples from real images. MIND is that of Berthet et al. 2026, and the distance at
infinity that of Chong and Forsyth 2020.""",
    ),
    'speed': Section(
        'Speed',
        """\
Figures are medians. PyTorch has the same networks and steps, channels-last; metrics stand beside torch-fidelity, prdc
(Naeem et al. 2020) or scikit-learn. Timings hold for the machine that they were taken on, and `--verify` leaves them out.""",
    ),
}
