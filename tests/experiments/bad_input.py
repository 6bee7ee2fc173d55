"""Command lines that mean nothing: what every experiment and tool has to refuse, in one line and with exit code 2.

    pytest tests/experiments/test_bad_input.py

`LINES` are written by hand, and `lines_of` makes one of each option of a number or a choice, by its declared type.
"""

import dataclasses
import importlib
import itertools
import json
import pathlib
import shlex
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image

EXPERIMENTS = pathlib.Path(__file__).parents[2] / 'experiments'
NAMES = (
    'adversarial_autoencoder', 'adversarial_flow', 'adversarial_flow_images', 'benchmark', 'bigan', 'biggan', 'conditional_gan',
    'cyclegan', 'dcgan', 'dirac_gan', 'ebgan', 'evaluate', 'export', 'f_gan', 'generate', 'infogan', 'interpolate', 'lapgan',
    'mode_collapse', 'optimal_discriminator', 'path_length', 'pix2pix', 'planted', 'r3gan', 'results', 'ring',
    'sample_efficiency', 'semi_supervised', 'showcase', 'sngan', 'stylegan2', 'taxonomy', 'text_to_image', 'translate',
    'unrolled_gan', 'vae_gan', 'vanishing_gradients', 'vqgan', 'wgan_gp',
)  # fmt: skip
MODULES = {
    **{f'experiments.{name}{".__main__" * (EXPERIMENTS / name).is_dir()}': name for name in NAMES},
    'experiments.dcgan.analyse': 'analyse',
    'experiments.text_to_image.say': 'say',
    'gan_jax.metrics.__main__': 'metrics',
}
REQUIRED = {
    'evaluate': 'run', 'export': 'run', 'generate': 'run', 'interpolate': 'run', 'showcase': 'run',
    'translate': 'run images made', 'analyse': 'run', 'metrics': 'images images', 'path_length': 'run',
    'sample_efficiency': 'images images', 'say': 'run words',
}  # fmt: skip
"""What these are given first; the others need nothing."""

LINES = r"""
dcgan --dataset ''                                            --dataset is empty
dcgan --dataset ' '                                           --dataset is empty
dcgan --dataset mnits                                         unknown data set|did you mean mnist
dcgan --dataset nowhere/                                      no folder nowhere
dcgan --dataset empty                                         no images in empty
dcgan --dataset broken                                        cannot read image
dcgan --dataset broken.npz                                    broken.npz
dcgan --dataset text.npy                                      text.npy
dcgan --dataset images --batch-size 64                        batch size 64 is more than the 8 examples
dcgan --dataset images --size 8 --batch-size 8 --score-every 1        --score-every requires labels
dcgan --data-dir ''                                           --data-dir is empty
dcgan --name ''                                               --name must be the name of a folder
dcgan --name .                                                --name must be the name of a folder
dcgan --name ../elsewhere                                     --name must be the name of a folder
dcgan --name /tmp/elsewhere                                   --name must be the name of a folder
dcgan --runs-dir ''                                           --runs-dir is empty
dcgan --runs-dir /dev/null                                    --runs-dir must be a folder, but /dev/null is a file
dcgan --runs-dir file                                         --runs-dir must be a folder
dcgan --runs-dir file/below                                   --runs-dir must be a folder
dcgan --resume                                                nothing to resume
dcgan --runs-dir . --name foreign                             foreign exists and is no
dcgan --init-from ''                                          --init-from is empty
dcgan --init-from nowhere                                     nowhere
dcgan --init-from damaged                                     damaged
dcgan --init-from foreign                                     foreign
dcgan --analyse run                                           --analyse is now python -m experiments.dcgan.analyse RUN
dcgan --evaluate 10                                           --evaluate is now --samples
dcgan --decay 0.1                                             --decay is now --schedule cosine:end=VALUE
dcgan --anneal gama                                           unknown schedule over images 'gama'; did you mean gamma
dcgan --anneal beta2:end=1                                    end must be at least 0 and below 1, not 1
dcgan --anneal learning_rate                                  give --schedule constant as well
dcgan --anneal probability                                    --anneal probability requires --augmentations
dcgan --anneal half_life --ema-decay 0.9                      --ema-decay is replaced by --anneal half_life
dcgan --penalties finite_r1:epsilon=0                         epsilon must be above 0
analyse ''                                                    RUN is empty
analyse nowhere                                               nowhere is no
analyse foreign                                               foreign is no
analyse run                                                   run is not a run that generates images
dcgan --seed -1                                               --seed must be from 0 to 4294967295, not -1
dcgan --seed 99999999999999999999                             --seed must be from 0 to 4294967295
dcgan --steps 99999999999                                     --steps must be finite and at most 2147483647
dcgan --steps 1e3                                             --steps
dcgan --steps                                                 --steps
dcgan --steps 1 2                                             2
dcgan --stepz 3                                               did you mean --steps
dcgan stray                                                   stray
dcgan --schedule cosine:end=nan                               end must be a number, not 'nan'
dcgan --objective-weight nan                                  --objective-weight must be from 0 to 1000000, not nan
dcgan --objective-weight inf                                  --objective-weight must be from 0 to 1000000, not inf
dcgan --historical-averaging nan                              --historical-averaging must be from 0 to 1000000, not nan
dcgan --clip-weights inf                                      --clip-weights must be finite
dcgan --memory-limit nan                                      --memory-limit must be from 0 to 1000000, not nan
dcgan --memory-limit -1                                       --memory-limit must be from 0
dcgan --size 30                                               image size 30 is not supported
dcgan --size 3                                                image size 3 is not supported
dcgan --channels 2                                            --channels
dcgan --channels 0                                            --channels
dcgan --dtype float64                                         --dtype
dcgan --runner tpu                                            --runner
dcgan --batch-size 6                                          batch size 6 is not divisible by the 4 devices
dcgan --batch-size 4096                                       batch size 4096 is more than the 1437 examples
dcgan --objective ''                                          unknown objective ''
dcgan --objective hinge:margin=1                              has no setting 'margin'; it has: none
dcgan --objective energy_margin                               energy_margin requires a D that returns energies
dcgan --objective minimax:smoothing=1                         smoothing must be at least 0 and below 1, not 1
dcgan --objective minimax:smoothing=nan                       smoothing must be a number, not 'nan'
dcgan --objective least_squares:a=1,b=1                       a and b are the targets
dcgan --objective least_squares:a=1e999                       a must be from -1000 to 1000, not inf
dcgan --objective f_gan:divergence=kll                        unknown divergence 'kll'; did you mean kl
dcgan --objective f_gan:divergence=3                          divergence must be a name or a Divergence, not 3
dcgan --objective f_gan:divergence=alpha,a=0                  a must be neither 0 nor 1
dcgan --objective f_gan:divergence=alpha,pi=1                 unexpected keyword argument 'pi'
dcgan --objective f_gan:divergence=jensen_shannon_weighted,pi=1       pi must be above 0 and below 1, not 1
dcgan --objective relativistic_average:scale=x                has no setting 'scale'
dcgan --penalties r3                                          unknown penalty 'r3'
dcgan --penalties r1:                                         settings must be written name=value
dcgan --penalties r1:gamma                                    settings must be written name=value
dcgan --penalties r1:gamma=                                   gamma must be a number, not ''
dcgan --penalties r1:gamma=a                                  gamma must be a number, not 'a'
dcgan --penalties r1:gamma=True                               gamma must be a number, not True
dcgan --penalties r1:gamma=None                               gamma must be a number, not None
dcgan --penalties r1:gamma=[1]                                gamma must be a number, not \[1\]
dcgan --penalties r1:gamma=-1                                 gamma must be from 0 to 1000000, not -1
dcgan --penalties r1:gamma=1e999                              gamma must be from 0 to 1000000, not inf
dcgan --penalties r1:gamma=1,gamma=2                          sets gamma twice
dcgan --penalties r1:weight=1                                 has no setting 'weight'; it has: gamma
dcgan --penalties wgan_gp:scale=x                             has no setting 'scale'; it has: weight, one_sided
dcgan --penalties wgan_gp:one_sided=1                         one_sided must be True or False, not 1
dcgan --penalties dragan:scale=-1                             scale must be from 0 to 1000000, not -1
dcgan --penalties r1 --penalty-every 0                        --penalty-every must be at least 1
dcgan --penalties r1 --penalty-decay 0                        --penalty-decay must be above 0 and at most 1
dcgan --augmentations packing:size=0                          size must be from 1 to 1000, not 0
dcgan --augmentations packing:size=3                          4 examples do not divide into packs of 3
dcgan --augmentations packing:size=2.5                        size must be a whole number, not 2.5
dcgan --augmentations packing packing                         --augmentations names packing twice
dcgan --augmentations packing adaptive                        packing must come last in a chain
dcgan --augmentations packing instance_noise                  packing must come last in a chain
dcgan --augmentations instance_noise:sigma=-1                 sigma must be from 0 to 1000, not -1
dcgan --augmentations instance_noise:updates=0                updates must be at least 1, not 0
dcgan --augmentations instance_noise:sigma=1e400              sigma must be from 0 to 1000, not inf
dcgan --augmentations diff_augment:policy=colour              unknown transform 'colour'; did you mean color
dcgan --augmentations diff_augment:policy=5                   diff_augment:policy=5
dcgan --augmentations diff_augment:probability=2              probability must be from 0 to 1, not 2
dcgan --augmentations adaptive:target=2                       target must be from -1 to 1, not 2
dcgan --augmentations adaptive:images=0                       images must be at least 1, not 0
dcgan --augmentations adaptive:scale=x                        has no setting 'scale'
dcgan --augmentations ada:policy=blit+colour                  unknown transform of ADA 'colour'; did you mean color
dcgan --augmentations ada:policy=blit+blit                    the policy of ADA names blit twice
dcgan --augmentations ada:policy=blit,color_share=0.5         color_share requires the stage color
dcgan --augmentations ada:probability=0.5,target=0.7          target would have no effect
dcgan --augmentations ada:every=8 --anneal probability        every would have no effect
dcgan --objective wasserstein --augmentations ada             an adaptive augmentation follows the sign of real logits
dcgan --regularizers lecam:decay=1                            decay must be at least 0 and below 1, not 1
dcgan --regularizers bcr:policy=flop                          unknown transform 'flop'; did you mean flip
lapgan --regularizers bcr                                     such as bcr, would change the high-pass images of a pyramid
bigan --regularizers top_k                                    such as top_k, would also weigh the real pairs
dcgan --features feature_match                                did you mean feature_matching
dcgan --features pulling_away:weight=-1                       weight must be from 0 to 1000000, not -1
dcgan --d-norm virtual                                        only for generators
dcgan --d-norm ''                                             unknown normalization ''
dcgan --g-norm batchnorm                                      unknown normalization 'batchnorm'
dcgan --minibatch std                                         did you mean stddev
dcgan --minibatch stddev:group_size=0                         group_size must be at least 1, not 0
dcgan --minibatch stddev:group_size=3                         a batch of 4 examples cannot be split into groups of 3
dcgan --minibatch stddev:parent=1                             has no setting 'parent'
dcgan --minibatch discrimination:features=0                   features must be from 1 to 65536, not 0
dcgan --minibatch discrimination:kernel_init=1                has no setting 'kernel_init'
dcgan --optimizers rmsprop                                    unknown optimizers 'rmsprop'
dcgan --optimizers adam:beta1=2                               beta1 must be at least 0 and below 1, not 2
dcgan --optimizers adam:beta2=1                               beta2 must be at least 0 and below 1, not 1
dcgan --optimizers adam:learning_rate=-1                      learning_rate must be at least 0, not -1
dcgan --optimizers adam:learning_rate=1e999                   learning_rate must be finite
dcgan --optimizers adam:rate=1                                has no setting 'rate'
dcgan --optimizers wgan:clip=0                                clip must be above 0, not 0
dcgan --simultaneous --discriminator-steps 2                  simultaneous updates must be one per player
dcgan --extragradient --discriminator-steps 2                 extragradient updates must be one per player
dcgan --extragradient --unroll-steps 2                        unroll_steps must be 0, got 2
dcgan --extragradient --simultaneous                          --simultaneous has no effect
dcgan --accumulate 2 --unroll-steps 2                         unroll_steps must be 0, got 2
dcgan --dataset digits --accumulate 3                         --accumulate 3 must divide the batch size of a device
dcgan --ema-widths 0.3                                        --ema-widths must be above 0 and at most 0.2886
dcgan --ema-widths 0.1 0.1                                    --ema-widths names 0.1 twice
dcgan --clip-gradients 0                                      --clip-gradients must be above 0
dcgan --simultaneous --generator-steps 2                      simultaneous updates must be one per player
conditional_gan --objective energy_margin                     energy_margin requires a D that returns energies
conditional_gan --condition labels                            unknown condition 'labels'
conditional_gan --dataset digits --samples 9                  at least one sample of each of the 10 classes
conditional_gan --dataset images                              no labels to learn from
conditional_gan --dataset digits --augmentations packing      packing joins examples of different labels
conditional_gan --dataset digits --condition projection --g-norm layer        does not support classes
conditional_gan --dataset digits --minibatch stddev:group_size=5      cannot be split into groups of 5
conditional_gan --class-weight nan                            --class-weight must be from 0 to 1000000, not nan
cyclegan --objective energy_margin                            energy_margin requires a D that returns energies
cyclegan --task ''                                            --task is empty
cyclegan --task horse2zebr                                    there is no folder 'horse2zebr'
cyclegan --task empty                                         empty
cyclegan --task images --dataset mnist                        leave out --dataset
cyclegan --dataset sets                                       holds two sets of images
cyclegan --size 15                                            multiples of 4
cyclegan --size 64x96                                         --size must be the side of squares, from 1 to 8192, not '64x96'
cyclegan --receptive-field 7                                  receptive field 7 is not supported
cyclegan --receptive-field 286 --size 32                      too small for a PatchGAN
cyclegan --identity-weight nan                                --identity-weight must be from 0 to 1000000, not nan
cyclegan --constant 0.5                                       --constant is now --schedule linear:start=VALUE
cyclegan --schedule linear:start=1.5                          start must be at least 0 and below 1, not 1.5
cyclegan --score-every 1                                      --score-every requires images with labels
cyclegan --minibatch stddev                                   --minibatch requires a D that judges whole images
cyclegan --augmentations packing:size=3                       do not divide into packs of 3
cyclegan --g-norm virtual                                     requires a reference batch
cyclegan --optimizers wgan:clip=-1                            clip must be above 0, not -1
cyclegan --penalties roth                                     one logit per example
cyclegan --batch-size 3                                       not divisible by the 4 devices
pix2pix --dataset ''                                          --dataset is empty
pix2pix --dataset nowhere                                     no folder nowhere
pix2pix --dataset images                                      images
pix2pix --dataset sets                                        sets
pix2pix --direction a_to_c                                    --direction
pix2pix --dataset images --objective energy_margin            energy_margin requires a D that returns energies
pix2pix --size 63                                             image size 63 x 63 is not supported
pix2pix --size 64x96                                          --size must be the side of squares, from 1 to 8192, not '64x96'
pix2pix --objective-weight 0 --l1-weight 0                    G would learn nothing
pix2pix --dropout 1                                           --dropout must be at least 0 and below 1
pix2pix --samples 1                                           --samples must be from 2
pix2pix --validation 9                                        --validation is now --samples
pix2pix --features nope                                       unknown feature loss 'nope'
pix2pix --features pixels                                     --features pixels is --compare-features pixels now
pix2pix --compare-features nope                               unknown extractor 'nope'
pix2pix --compare-features custom:function=no.such.thing      cannot find the function 'no.such.thing'
dirac_gan --gammas 1e300                                      --gammas must be from 0 to 1000000, not 1e\+300
dirac_gan --gammas nan                                        --gammas must be from 0 to 1000000, not nan
dirac_gan --gammas                                            --gammas must name at least one
dirac_gan --gammas 1 1                                        --gammas names 1 twice
dirac_gan --noises                                            --noises must name at least one
dirac_gan --noises inf                                        --noises must be from 0 to 1000, not inf
dirac_gan --start 0 0                                         other than the equilibrium
dirac_gan --start nan 1                                       --start must be from -1000 to 1000, not nan
dirac_gan --start 1                                           --start
dirac_gan --start 1 y                                         --start must be a number, from -1000 to 1000, not 'y'
dirac_gan --step-size 0                                       --step-size must be above 0
dirac_gan --step-size 1e300                                   --step-size must be above 0 and at most 100
dirac_gan --steps 7                                           --steps must be from 8
dirac_gan --seed 1                                            --seed
vqgan --dataset digits --latent-size 3                        --latent-size has no effect
vqgan --dataset digits --perceptual-weight 2                  --perceptual-weight requires --perceptual
vqgan --dataset digits --perceptual squeeze                   unknown extractor 'squeeze'; did you mean squeezenet
vqgan --dataset digits --perceptual custom:function=math.sqrt         can be differentiated; math.sqrt runs on the host
vqgan --dataset digits --minibatch stddev                     here D judges patches
vqgan --dataset digits --score-every 1                        --score-every requires a generator that draws
vqgan --dataset digits --halvings 5                           image size 16 x 16 cannot be halved 5 times
vqgan --dataset digits --size 16x32                           vqgan takes square images
vqgan --dataset digits --receptive-field 70                   image size 16 is too small for a PatchGAN of receptive field 70
vqgan --dataset images --size 8 --batch-size 8 --receptive-field 1    no folders train and test
ring --ema-widths 0.1                                         --ema-widths requires a run that generates or translates images
vqgan --dataset digits --no-adaptive --largest-weight 9       limits the adaptive weight, which --no-adaptive omits
vqgan --dataset digits --steps 1000                           the adversarial term would never begin
vqgan --dataset digits --discriminator-waits --start 0        --discriminator-waits requires a --start above 0
vqgan --dataset digits --objective-weight 0 --start 9         --start has no effect: .* D influences nothing
vqgan --dataset digits --objective-weight 0 --penalties r1    --penalties has no effect: .* D influences nothing
vqgan --dataset digits --objective-weight 0 --features feature_matching --no-adaptive         which leaves no adversarial term
vqgan --dataset digits --code-weight 0 --commitment 1         --commitment has no effect with --code-weight 0
vae_gan --dataset digits --features --gamma 2                 --gamma is the weight of --features
vae_gan --dataset digits --features ''                        unknown feature loss ''
vae_gan --dataset digits --minibatch stddev                   would compare real images with themselves
vae_gan --dataset digits --objective-weight 0 --features --pixel-weight 1 --clip-weights 1    --clip-weights has no effect
vae_gan --dataset digits --size 30                            image size 30
vae_gan --dataset images --size 8 --batch-size 8              no folders train and test
adversarial_autoencoder --dataset digits --prior normall      unknown mixture 'normall'
adversarial_autoencoder --dataset digits --prior gmm:modes=0          modes must be from 1
adversarial_autoencoder --dataset digits --prior ring_unrolled --latent-size 3        cannot be combined with --prior
adversarial_autoencoder --dataset digits --objective energy_margin            requires a D that returns energies
ebgan --objective hinge                                       EBGAN's D must be low on real images
ebgan --objective energy_margin:margin=1e300                  margin must be above 0 and at most 1000000
ebgan --margins 5 5                                           --margins names 5 twice
ebgan --margins 0                                             --margins must be above 0 and at most 1000000
ebgan --margins nan                                           --margins must be above 0 and at most 1000000, not nan
ebgan --network cnn                                           --network
ebgan --minibatch stddev                                      has no --minibatch
ebgan --dataset images --size 8 --batch-size 8                no labels to train a classifier
f_gan --divergences                                           --divergences must name at least one
f_gan --divergences kl kl                                     --divergences names kl twice
f_gan --divergences kll                                       unknown divergence 'kll'
f_gan --weights 0.5 0.6                                       --weights must sum to 1
f_gan --weights 0.5 0.5 --means 0                             as many as the mixture has modes
f_gan --weights -0.5 1.5                                      --weights must be above 0 and at most 1
f_gan --weights                                               as many as the mixture has modes
f_gan --stds 0 1                                              --stds must be above 0
f_gan --means 0 1e300                                         --means must be from -1000 to 1000
f_gan --start 0 0                                             --start must be above 0
lapgan --features feature_matching                            have no --features
lapgan --augmentations diff_augment                           augmentation would change the high-pass images
lapgan --d-norm batch                                         have no --d-norm
lapgan --minibatch stddev                                     have no --minibatch
lapgan --halvings 11                                          --halvings must be from 0 to 10
ring --memory-limit 1                                          --memory-limit applies to data sets
ring --score-every 5                                          --score-every requires a run that generates images
unrolled_gan --score-every 5                                  --score-every requires a run that generates images
ring --sweep --sample-every 5                                 --sample-every does not apply to a sweep
taxonomy --dataset digits --init-from run                     --init-from requires a game
f_gan --init-from nowhere                                     nowhere has no checkpoint yet
lapgan --size 30                                              30
lapgan --size 32x64                                           --size must be their side, not 32x64
lapgan --kernel-sizes 3 3                                     --kernel-sizes
lapgan --kernel-sizes 3 0 3                                   --kernel-sizes must be from 1 to 255, not 0
lapgan --dropout 1                                            --dropout must be at least 0 and below 1
mode_collapse --networks nope                                 unknown networks for stacked MNIST 'nope'
mode_collapse --networks metz                                 --networks does not apply to --data ring
mode_collapse --digits digits                                 --digits does not apply to --data ring
mode_collapse --size 16                                       --size does not apply to --data ring
mode_collapse --data stacked_mnist --width 64                 --width does not apply to --data stacked_mnist
mode_collapse --methods gan gan                               --methods names gan twice
mode_collapse --methods                                       --methods must name at least one
mode_collapse --methods gann                                  unknown method 'gann'; did you mean gan
mode_collapse --methods packing:size=7                        do not divide into packs of 7
mode_collapse --methods packing:keep=all                      keep must be examples or packs, not 'all'
mode_collapse --methods unrolled:steps=-1                     steps must be from 0 to 1000, not -1
mode_collapse --methods madgan:generators=0                   generators must be from 1 to 100, not 0
mode_collapse --methods adagan:components=1e9                 components must be a whole number, not 1000000000.0
mode_collapse --methods feature_matching:weight=inf           weight must be a number, not 'inf'
mode_collapse --data circle                                   unknown mixture 'circle'
mode_collapse --data ''                                       unknown mixture ''
mode_collapse --data gmm:modes=0                              modes must be from 1 to 10000, not 0
mode_collapse --data gmm:seed=-1                              seed must be from 0 to 4294967295, not -1
mode_collapse --data stacked_mnist --digits images            images
mode_collapse --schedule cosine:end=2                         end must be from 0 to 1, not 2
mode_collapse --learning-rate nan                             --learning-rate must be at least 0, not nan
optimal_discriminator --pairs                                 --pairs must name at least one
optimal_discriminator --pairs scales scales                   --pairs names scales twice
optimal_discriminator --pairs scale                           unknown pair 'scale'; did you mean scales
optimal_discriminator --mu 1e300                              --mu must be from -1000 to 1000
optimal_discriminator --learning-rate 0                       --learning-rate must be above 0
ring --data madgan_1d                                         not in the plane
ring --data gmm:modes=x                                       modes must be a whole number, not 'x'
ring --augmentations packing:size=3                           64 examples do not divide into packs of 3
ring --minibatch stddev:group_size=5                          cannot be split into groups of 5
ring --objective energy_margin                                energy_margin requires a D that returns energies
ring --augmentations diff_augment                             requires images
ring --d-norm instance                                        instance norm requires more than one position
ring --sweep --sweep-penalties                                --sweep-penalties must name at least one
ring --sweep --sweep-penalties r1+r3                          unknown penalty 'r3'
ring --sweep --sweep-objectives hinge hinge                   --sweep-objectives names hinge twice
ring --sweep --sweep-objectives energy_margin                 energy_margin requires a D that returns energies
ring --unroll-steps -1                                        --unroll-steps must be from 0 to 1000, not -1
ring --unroll-steps 99999999999                               --unroll-steps must be from 0 to 1000
adversarial_flow --compare                                    --compare must name at least one
adversarial_flow --compare 0 -1                               --compare must be from 0 to 1000000, not -1
adversarial_flow --flow-steps 0                               --flow-steps must be from 1 to 100, not 0
adversarial_flow --flow-steps 2 --augmentations packing       packing joins points at different times
adversarial_flow --memory-limit 1                             --memory-limit applies to data sets
adversarial_flow --score-every 1                              --score-every requires a run that generates images
adversarial_flow_images --latent-size 3                       Unrecognized options: --latent-size
biggan --attention 3                                          attention must be from 0
biggan --attention 11                                         --attention must be from 0 to 10, not 11
biggan --size 8 --latent-size 1 --attention 0                 1 latents are too few
biggan --g-norm batch                                         G always has batch norm
biggan --minibatch stddev                                     has no --minibatch
biggan --dataset images                                       no labels to learn from
biggan --label-sampling even                                  --label-sampling
biggan --augmentations packing                                packing joins examples of different labels
bigan --augmentations packing                                 packing joins examples whose codes differ
bigan --size 30                                               image size 30
bigan --features pulling_away:weight=-1                       weight
infogan --categories 1                                        --categories must be from 2 to 1000, not 1
infogan --augmentations packing                               packing joins examples of different codes
unrolled_gan --compare                                        --compare must name at least one
unrolled_gan --compare 0 0                                    --compare names 0 twice
unrolled_gan --compare 0 -2                                   --compare must be from 0 to 1000, not -2
unrolled_gan --unroll-steps 1                                 --unroll-steps
unrolled_gan --data ring                                      unknown mixture 'ring'
unrolled_gan --discriminator-steps 2                          simultaneous updates must be one per player
semi_supervised --labels 101 --dataset digits                 cannot be split evenly among 10 classes
semi_supervised --labels 100000 --dataset digits              100000 labels
semi_supervised --d-features                                  --d-features is empty
semi_supervised --d-features 10 0                             --d-features must be from 1 to 65536, not 0
semi_supervised --g-norm layer                                norms are the paper's
semi_supervised --objective energy_margin                     energy_margin requires a D that returns energies
semi_supervised --dataset images                              no labels to learn from
semi_supervised --dataset digits --augmentations packing:size=2       packing joins examples of different classes
semi_supervised --features                                    G would learn nothing
dcgan --objective-weight 0                                    G would learn nothing
conditional_gan --condition projection --objective-weight 0   G would learn nothing
conditional_gan --condition auxiliary_classifier --objective-weight 0 --generator-class-weight 0   G would learn nothing
bigan --objective-weight 0                                    G would learn nothing
adversarial_flow --objective-weight 0                         G would learn nothing
infogan --objective-weight 0 --category-weight 0 --continuous-weight 0   G would learn nothing
adversarial_autoencoder --objective-weight 0 --reconstruction-weight 0   G would learn nothing
dcgan --features feature_reconstruction                       requires a game that reconstructs its examples
bigan --features feature_reconstruction:weight=2              requires a game that reconstructs its examples
adversarial_autoencoder --features feature_reconstruction     requires a game that reconstructs its examples
text_to_image --minibatch discrimination                      no --minibatch layer
stylegan2 --widths 8 8 8 --width 64                           --width has no effect with --widths
r3gan --widths 16 16 16 --width 64                            --width has no effect with --widths
r3gan --preset cifar10 --width 64                             --width has no effect with --widths
infogan --continuous 0 --continuous-weight 5                  --continuous-weight requires --continuous
adversarial_flow_images --transport-weight 0 --transport-decay 0.5       --transport-decay has no effect
adversarial_flow --compare 0.1 0.10000001                     --compare names 0.1 twice
ebgan --margins 5 5.0000001                                   --margins names 5 twice
planted --kinds duplicates:share=1                            share must be above 0 and below 1
planted --samples 20 --measures prdc:k=30 --extractor pixels  neighbour k = 30
sample_efficiency digits digits --extractor pixels --measures prdc --sizes 3   neighbour k = 5
semi_supervised --extragradient --no-own-minibatches          the average of D would include the updates ahead
semi_supervised --splits 3                                    --splits is now --seeds
semi_supervised --average nan                                 --average must be from 0 to 1, not nan
r3gan --preset cifar                                          unknown preset 'cifar'; did you mean cifar10
r3gan --preset cifar10 --batch-size 0                         --batch-size must be from 1
r3gan --dtype bfloat16 --penalties finite_r1                  requires --dtype float32
r3gan --preset ffhq64                                         requires --dataset
r3gan --d-norm batch                                          R3GAN have no --d-norm
r3gan --width 5 --group-width 3 --size 8                      the number of groups of each stage must divide twice its width
r3gan --widths 4 4 4 4 --size 28                              cannot be halved 3 times through a filter
dcgan --size 8192                                             GB, and this machine has
stylegan2 --size 8192                                         GB, and this machine has
adversarial_autoencoder --dataset digits --size 8192          GB, and this machine has
stylegan2 --d-norm spectral                                   StyleGAN2 have no --d-norm
stylegan2 --path-weight 0 --path-every 8                      --path-every requires a --path-weight above 0
stylegan2 --widths 4 4 4 4 --size 28                          cannot be halved 3 times
stylegan2 --mixing 1.5                                        --mixing must be from 0 to 1
stylegan2 --minibatch stddev:group_size=3                     cannot be split into groups of 3
r3gan --dataset images --size 8 --batch-size 8 --conditional  --conditional requires labels
sngan --pool max                                              --pool
sngan --minibatch stddev                                      has no --minibatch
sngan --dataset digits --size 30                              image size 30
sngan --extragradient --discriminator-steps 1 --generator-batches 1   the average of G would include the updates ahead
sngan --generator-batches 0                                   --generator-batches must be from 1 to 1000
wgan_gp --g-width 1e3                                         --g-width
wgan_gp --schedule linear:end=-0.5                            end must be from 0 to 1, not -0.5
taxonomy --models                                             --models must name at least one
taxonomy --models vae vae                                     --models names vae twice
taxonomy --models vea                                         unknown model 'vea'; did you mean vae
taxonomy --noise 1                                            --noise must be above 0 and below 1
taxonomy --size 3                                             --size must be from 4 to 1024
taxonomy --size 28x28                                         --size must be a whole number, from 4 to 1024, not '28x28'
text_to_image --method gaan                                   unknown method 'gaan'; did you mean gan
text_to_image --say hello                                     --say is now python -m experiments.text_to_image.say
text_to_image --run run                                       --run is now python -m experiments.text_to_image.say
text_to_image --data images --score-every 1                   --score-every requires captioned digits
text_to_image --data nowhere                                  is neither a folder nor one of
text_to_image --data images                                   captions.csv
text_to_image --data caltech_birds2011                        requires --captions
text_to_image --size 64                                       captioned digits have 32 pixels
text_to_image --size 32x32                                    --size must be the side of squares, from 1 to 8192, not '32x32'
text_to_image --mismatches far                                unknown mismatches 'far'
text_to_image --mismatches any --method gan                   --mismatches applies to cls and cls_int
text_to_image --encoder clip                                  unknown encoder 'clip'
text_to_image --encoder nowhere.npz                           nowhere.npz
text_to_image --encoder broken.npz                            broken.npz
text_to_image --method int --batch-size 4                     interpolated in pairs
text_to_image --augmentations packing                         packing joins images of different texts
text_to_image --objective energy_margin                       energy_margin requires a D that returns energies
vanishing_gradients --cases                                   --cases must name at least one
vanishing_gradients --cases minimax minimax                   --cases names minimax twice
vanishing_gradients --cases maximin                           unknown case 'maximin'
vanishing_gradients --data madgan_1d                          not in the plane
vanishing_gradients --clip 0                                  --clip must be above 0
vanishing_gradients --sigma nan                               --sigma must be from 0 to 1000, not nan
benchmark --penalties r1@0                                    a number of updates, at least 1
benchmark --penalties r1 --width 8                            --width does not apply to --penalties
benchmark --game gan                                          --game
benchmark --unroll-steps                                      --unroll-steps must name at least one
benchmark --unroll-steps 0 0                                  --unroll-steps names 0 twice
benchmark --json suite.json                                   require --suite
benchmark --suite --json images                               --json must be a file to write
benchmark --suite --json file/x.json                          --json must be a folder, but
benchmark --suite --compare nowhere.json                      nowhere.json
benchmark --suite --compare file                              file
benchmark --suite --only nothing_of_that_name                 nothing_of_that_name
benchmark --metric frechet --samples 1                        --samples must be from 2
benchmark --metric fid                                        --metric
benchmark --size 30                                           image size 30
evaluate ''                                                   RUN is empty
evaluate                                                      Missing from
evaluate nowhere                                              nowhere is no
evaluate foreign                                              foreign is no
evaluate run --samples 0                                      --samples must be from 2
evaluate run --seed -1                                        --seed must be from 0 to 4294967295, not -1
evaluate run --protocol fid50k_full --samples 10              a protocol fixes
evaluate run --protocol fid50k_full fid50k_full               --protocol names fid50k_full twice
evaluate run --protocol fid                                   unknown protocol 'fid'
evaluate run --measures fid --extractor pixels                unknown measure 'fid'
evaluate run --extractor nope                                 unknown extractor 'nope'
export ''                                                     RUN is empty
export nowhere                                                there is no run nowhere
export foreign                                                foreign is no
export run                                                    run
export run --checkpoint -1                                    --checkpoint must be at least 0
generate nowhere                                              there is no run nowhere
generate run                                                  run
generate run --out ''                                         --out is empty
generate run --number 0                                       --number must be from 1
generate run --number 5 --latents images                      --number cannot be combined with --latents
generate run --truncation -1                                  --truncation must be at least 0
generate run --seed 4294967296                                --seed must be from 0 to 4294967295
interpolate nowhere                                           there is no run nowhere
interpolate run --rate 51                                     --rate must be from 0.01 to 50
interpolate run --points 1                                    --points must be from 2
interpolate run --out film.mp4                                --out must be a .gif
interpolate run --out images                                  --out must be a file to write
interpolate run --way zigzag                                  --way
showcase nowhere                                              nowhere is no
showcase foreign                                              foreign is no
showcase run                                                  run has no pictures
showcase run run                                              names run twice
showcase run --out film.mp4                                   --out must end in .gif or .png
showcase run --out images                                     --out must be a file to write
showcase run --frames 1                                       --frames must be from 2 to 500, not 1
say '' hello                                                 RUN is empty
say nowhere hello                                             nowhere is no
say foreign hello                                             foreign is no
say run                                                       no captions are given
translate nowhere images made                                 there is no run nowhere
translate run nowhere made                                    run
translate run images ''                                       OUT is empty
translate run images made --size 0                            --size must be from 1 to 8192
translate run images made --size native                       --size must be the side of squares, from 1 to 8192, not 'native'
translate run images                                          OUT
metrics                                                       REAL and at least one FAKE are required
metrics images                                                REAL and at least one FAKE are required
metrics '' images                                             REAL is empty
metrics images ''                                             FAKE is empty
metrics nowhere/ images --extractor pixels                    nowhere
metrics images empty --extractor pixels --resize 8            no images in empty
metrics images broken --extractor pixels --resize 8           cannot read image
metrics images broken.npz --extractor pixels                  broken.npz
metrics images text.npy --extractor pixels                    text.npy
metrics images images --extractor pixel                       unknown extractor 'pixel'; did you mean pixels
metrics images images --extractor pixels:size=3               has no setting 'size'
metrics images images --extractor custom                      function
metrics images images --extractor custom:function=nothing     cannot find the function 'nothing'
metrics images images --extractor squeezenet:path=nowhere --resize 64         nowhere
metrics images images --extractor dinov2_vitl14               fetch dinov2_vitl14_pretrain.pth from https://dl.fbaipublicfiles.com
metrics images images --extractor pixels --measures fid       unknown measure 'fid'
metrics images images --extractor pixels --measures prdc:k=0  k must be at least 1, not 0
metrics images images --extractor pixels --measures kernel kernel     --measures names kernel twice
metrics images images --extractor pixels --measures kernel_subsets:size=1     size must be from 2
metrics images images --extractor pixels --measures score     score
metrics images images --samples 0                             --samples must be from 2
metrics images images --reals -3                              --reals must be from 2
metrics images images --resize 0                              --resize must be from 1 to 8192
metrics images images --resize 8x8                            --resize must be the side of squares, from 1 to 8192, not '8x8'
metrics images images --seed -1                               --seed must be from 0 to 4294967295
metrics images images --extractor pixels --seeds 2              the images of images are fixed
metrics images images --extractor pixels --split test          images has no splits of which --split test could be one
metrics images --reference nowhere.npz --extractor pixels      nowhere.npz
metrics images --reference nan_statistics.npz --extractor pixels       nan_statistics.npz
metrics images --save-reference images --extractor pixels      --save-reference must be a file to write
metrics images images --batch-size 0                          --batch-size must be from 1
metrics images images --json images                           --json must be a file to write
metrics images images --json file/scores.json                 --json must be a folder, but
metrics images images --protocol fid                          unknown protocol 'fid'
metrics images images --protocol fid50k_full --extractor pixels       a protocol fixes
metrics digits:validation images --extractor pixels --resize 8        digits have no split
metrics images run --extractor pixels --resize 8              run
dcgan --dataset one --size 8 --batch-size 4                   batch size 4 is more than the 1 examples
dcgan --dataset images/0.png                                  no folder images/0.png
dcgan --dataset loop                                          unknown data set 'loop'
dcgan --dataset MNIST                                         did you mean mnist
dcgan --dataset 'mnist:'                                      'mnist:' is not a data set name
dcgan --dataset 'digits:'                                     'digits:' does not name a split
dcgan --dataset 'digits:train[5:2]'                           no split 'train\[5:2\]'
dcgan --dataset zero.npy                                      zero.npy: images must be
dcgan --runs-dir loop                                         Too many levels of symbolic links
dcgan --resume --overwrite                                    give only one of them
dcgan --init-from file                                        file has no checkpoint
dcgan --analyse run                                           --analyse is now python -m experiments.dcgan.analyse RUN
analyse run_list                                              run_list is not a run that generates images
analyse run_binary                                            run_binary is not a run that generates images
dcgan --size 64X96                                            must be a side, HEIGHTxWIDTH such as 64x96, or native, not '64X96'
dcgan --size 0x64                                             --size must be from 1 to 8192, not 0
dcgan --size 64x96x3                                          must be a side, HEIGHTxWIDTH such as 64x96, or native, not '64x96x3'
dcgan --penalties --penalty-every 4                           --penalty-every requires --penalties
dcgan --penalties --penalty-decay 0.5                         --penalty-decay requires --penalties
dcgan --penalties --penalty-at original                       --penalty-at requires --penalties
dcgan --penalties r1 r1                                       --penalties names r1 twice
dcgan --penalties 'r1:gamma=[[[['                             gamma must be a number, not '\[\[\[\['
dcgan --penalties 'r1:gamma=__import__("os")'                 gamma must be a number
dcgan --augmentations adaptive adaptive                       --augmentations names adaptive twice
dcgan --features feature_matching feature_matching            --features names feature_matching twice
dcgan --objective :                                           unknown objective ''
dcgan --objective 'minimax:=1'                                has no setting ''
dcgan --data-dir file                                         --data-dir must be a folder, but
conditional_gan --condition projection --generated-classes    --generated-classes applies to --condition auxiliary_classifier
conditional_gan --condition concatenation --class-weight 2    --class-weight applies to --condition auxiliary_classifier
cyclegan --task file                                          there is no folder 'file'
cyclegan --task pairs_odd                                     15 pixels wide
pix2pix --dataset pairs_odd                                   15 pixels wide
pix2pix --dataset one                                         at least 2 of each are required
pix2pix --statistics running                                  --statistics applies to batch norm, and --g-norm is instance
ebgan --margins 5 --objective energy_margin:margin=3          --objective cannot be combined with --margins
wgan_gp --g-norm layer --statistics running                   --statistics applies to batch norm, and --g-norm is layer
mode_collapse --compare-serial --invert 5                     --invert does not apply to --compare-serial
mode_collapse --compare-serial --resume                       --resume does not apply to --compare-serial
mode_collapse --evaluations 0                                 --evaluations must be at least 1
mode_collapse --data 'ring_veegan:modes=3'                    ring_veegan
ring --sweep-penalties none                                   --sweep-penalties requires --sweep
ring --sweep --objective hinge                                --objective does not apply to a sweep
ring --sweep --penalties r1                                   --penalties does not apply to a sweep
ring --sweep --sweep-penalties r1+r1                          --penalties names r1 twice
text_to_image --captions captions.csv                         --captions applies to a folder or a TFDS name
text_to_image --skip-broken                                   --skip-broken applies to a folder or a TFDS name
text_to_image --data images --digits mnist                    --digits applies to captioned digits, not to --data images
text_to_image --encoder bag_of_words --encoder-steps 5        --encoder-steps applies to the joint encoder, not to bag_of_words
text_to_image --scenes 5                                      batch size 16 is more than the 5 examples
say run_list hello                                            is damaged: it is not a configuration
benchmark --metric frechet --unroll-steps 1 2                 --unroll-steps does not apply to --metric frechet
benchmark --metric inception --dimension 64                   --dimension does not apply to --metric inception
benchmark --suite --metric frechet                            --metric does not apply to --suite
benchmark --suite --width 8                                   --width does not apply to --suite
benchmark --samples 10                                        --samples requires a --metric of features
benchmark --metric kernel_subsets --samples 999               --metric kernel_subsets requires --samples of at least 1000
benchmark --metric density_coverage --samples 6               --metric density_coverage requires --samples of at least 7
benchmark --metric inception --samples 10                     --samples does not apply to --metric inception
benchmark --metric neighbours --batch-size 10                 --batch-size does not apply to --metric neighbours
benchmark --game unrolled_ring --size 16                      --size applies to images
benchmark --suite --compare text.npy                          not the JSON of an earlier suite
results --record nowhere                                      unknown row 'nowhere'
results --record dcgan_digts                                  did you mean dcgan_digits
results --record ''                                           --record is empty
results --record dirac_gan --seeds 2                          dirac_gan has no seeds
results --record speed                                        experiments.benchmark leaves no run
results --verify nowhere                                      unknown row 'nowhere'
results --verify dcgan_digits dcgan_digits                    --verify names dcgan_digits twice
results --verify dcgan_digits --seed 0                        seed 0 is in dcgan_digits already
results --verify stacked_mnist_madgan                            has yet to be run
results --verify dcgan_analysis                               experiments.dcgan.analyse leaves no run
results --verify dcgan_digits --seeds 2                       --seeds is of --record
results --list --verify dcgan_digits                          three commands: give one of them
results --list --dirty                                        --dirty is of --record and --verify
results --seed 3                                              --seed is of --record and --verify
results --runs-dir file                                       --runs-dir must be a folder
planted --kinds blurr                                         unknown kind of failure 'blurr'; did you mean blur
planted --kinds blur blur                                     --kinds names blur twice
planted --kinds copies:share=2                                share must be above 0 and at most 1, not 2
planted --kinds resize:scale=1                                scale must be above 0 and below 1, not 1
planted --measures fid                                        unknown measure 'fid'
planted --extractor pixels                                    pixels does not predict classes
planted --extractor pixels --measures frechet --kinds dropped:classes=9       new images are left without 9 classes
planted --extractor pixels --measures frechet --samples 300   has 1797 images, a sixth of which
planted --extractor pixels --measures frechet --dataset images --samples 2    a sixth of which
evaluate run_list                                             is damaged: it is not a configuration
evaluate run_bin                                              cannot read run_bin/sampler.bin
generate run_bin                                              generator.json is damaged: it does not contain 'experiment'
generate file                                                 there is no run file
interpolate run_binary                                        run_binary
translate run_list images made                                run_list
metrics images one --extractor pixels --measures kernel       a metric requires at least 2 images, not 1
metrics images images --extractor custom:function=os.getcwd --measures frechet        os.getcwd fails on images
metrics images images --extractor custom:function=numpy.linalg --measures frechet     'numpy.linalg' must be a function
metrics images images --extractor custom:function=numpy.sum --measures frechet        must return one vector per image
metrics images images --extractor custom:function= --measures frechet         cannot find the function ''
metrics images zero.npy --extractor pixels                    zero.npy: images must be
metrics images flat.npy --extractor pixels                    flat.npy
metrics images object.npy --extractor pixels                  object.npy
metrics images complex.npy --extractor pixels                 complex.npy
metrics images nan.npy --extractor pixels                     nan.npy
metrics images words.npy --extractor pixels                   words.npy
metrics images seven.npy --extractor pixels                   seven.npy
metrics images empty.npz --extractor pixels                   empty.npz
metrics images many.npz --extractor pixels                    many.npz
metrics nan_statistics.npz images --extractor pixels --measures frechet       nan_statistics.npz
metrics odd_statistics.npz images --extractor pixels --measures frechet       odd_statistics.npz
metrics images loop --extractor pixels                        loop
metrics images images --measures prdc:k=8 --extractor pixels  sets of more than k examples
metrics images images --measures kernel_subsets:size=9 --extractor pixels     cannot be drawn from 8 and 8 rows
metrics images images --samples 9 --extractor pixels --measures frechet       has 8 readable images, but 9 were requested
"""
"""The command, and after two spaces what the line says, a regular expression. Names are those of `make_inputs`."""


def lines() -> list[tuple[str, list[str], str]]:
    """`(module, flags, what is said)` of every line by hand."""
    modules = {name: module for module, name in MODULES.items()}
    found = []
    for line in filter(None, LINES.splitlines()):
        command, _, words = line.partition('  ')
        if not words:  # a longer command has one space
            raise ValueError(f'no two spaces in {line!r}')
        name, *flags = shlex.split(command)
        found.append((modules[name], flags, words.strip()))
    return found


def lines_of(module: str) -> Iterator[tuple[list[str], str]]:
    """A malformed value of each option of numbers or choices, another kind of it for each: `(flags, what is said)`."""
    config = importlib.import_module(module).Config
    annotations = typing.get_type_hints(config, include_extras=True)
    kinds = itertools.cycle(range(4))
    for field in dataclasses.fields(config):
        kind, rules = _of(annotations[field.name])
        flag = f'--{field.name.replace("_", "-")}'
        if kind is int:
            low = min((int(rule.low) for rule in rules if hasattr(rule, 'low')), default=0)
            bad = (str(low - 1), '99999999999999999999', '1.5', 'x')[next(kinds)]
        elif kind is float:
            bad = ('-99999', 'nan', 'inf', 'x')[next(kinds)]
        elif typing.get_origin(kind) is Literal:
            bad = 'nothing_of_this'
        elif kind is bool:
            bad = 'maybe'
        else:
            continue
        words = bad if kind is bool else flag
        yield [*shlex.split(REQUIRED.get(MODULES[module], '')), flag, bad], words


def _of(annotation: Any) -> tuple[Any, list[Any]]:
    """The type of one value, without None and tuples, and its rules."""
    arguments = [x for x in typing.get_args(annotation) if x is not types.NoneType]
    if typing.get_origin(annotation) is Annotated:
        kind, rules = _of(arguments[0])
        return kind, [*rules, *arguments[1:]]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _of(arguments[0])
    return annotation, []


def make_inputs(folder: pathlib.Path) -> None:
    """Folders and files that the lines name."""
    rng = np.random.default_rng(0)
    for name in ('images', 'sets/trainA', 'sets/trainB', 'broken', 'empty', 'foreign', 'one', 'pairs_odd'):
        (folder / name).mkdir(parents=True)
    for name in ('images', 'sets/trainA', 'sets/trainB'):
        for i in range(8):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / name / f'{i}.png')
    for path, width in (('one/0.png', 8), ('pairs_odd/0.png', 15)):
        Image.fromarray(rng.integers(0, 256, (8, width, 3), np.uint8)).save(folder / path)
    (folder / 'loop').symlink_to('loop')
    (folder / 'broken/torn.png').write_bytes(b'\x89PNG')
    (folder / 'foreign/notes.txt').write_text('not a run')
    (folder / 'file').write_text('a file')
    (folder / 'broken.npz').write_bytes(b'PK\x03\x04')
    (folder / 'text.npy').write_bytes(b'no array')
    shape = (8, 8, 8, 3)
    arrays = {
        'zero': np.zeros((0, *shape[1:]), np.uint8),
        'flat': np.zeros(5),
        'object': np.array([{}, 1], object),
        'complex': np.zeros(shape, complex),
        'nan': np.full(shape, np.nan),
        'words': np.array(['a', 'b']),
        'seven': np.zeros((8, 8, 8, 7), np.uint8),
    }
    for name, array in arrays.items():
        np.save(folder / f'{name}.npy', array)
    np.savez(folder / 'empty.npz')
    np.savez(folder / 'many.npz', a=np.zeros(shape, np.uint8), b=np.zeros(shape, np.uint8))
    np.savez(folder / 'nan_statistics.npz', mu=np.full(192, np.nan), sigma=np.eye(192))
    np.savez(folder / 'odd_statistics.npz', mu=np.zeros(3), sigma=np.eye(4))
    for name, content in (('run_list', b'[]'), ('run_binary', b'\xff\xfe\x00')):
        (folder / name).mkdir()
        (folder / name / 'config.json').write_bytes(content)
    for name, identity in (
        ('run_bin', {'dataset': 'digits', 'size': None}),
        ('run', {'dataset': 'digits', 'size': None}),
        ('other', {'name_of_an_option': 1}),
    ):
        (folder / name).mkdir()
        (folder / name / 'config.json').write_text(json.dumps(identity))
    (folder / 'run_bin/sampler.bin').write_bytes(b'nothing that JAX has written')
    (folder / 'run_bin/generator.json').write_text('{}')
    (folder / 'damaged').mkdir()
    (folder / 'damaged/config.json').write_text('{"half')
