"""How the authors of R3GAN train the networks of each size, as options of the experiment."""

import math
from typing import Any, NamedTuple

from gan_jax.networks import r3gan_presets
from gan_jax.registry import Table


class Preset(NamedTuple):
    """How the authors train the networks of the same name."""

    gamma: float
    """Of R1 and R2 at first; a tenth of it at the end."""
    probability: float
    """Of augmentations, at the end."""
    half_life: float
    """Of the averaged generator at the end, in images."""
    images: float
    """Over which all of these change; the run is as long."""
    batch_size: int
    dataset: str = ''
    conditional: bool = False

    def options(self, name: str) -> dict[str, Any]:
        """The options of the experiment that are this preset's."""
        stages = r3gan_presets.R3GAN_STAGES[name]
        over = f'images={self.images:g}'
        half_life, probability = f'half_life:end={self.half_life:g},{over}', f'probability:end={self.probability},{over}'
        return {
            'preset': name,
            **({'dataset': self.dataset} if self.dataset else {}),
            'conditional': self.conditional,
            'size': stages.size,
            'widths': tuple(stages.widths),
            'group_width': 2 * stages.widths[0] // stages.groups[0],
            'blocks': 2,
            'steps': math.ceil(self.images / self.batch_size),
            'batch_size': self.batch_size,
            'penalties': (f'r1_r2:gamma={self.gamma}',),
            'augmentations': ('ada:policy=blit+geom+color+cutout,color_share=0.5',),
            'optimizers': 'adam:learning_rate=2e-4,beta1=0',
            'anneal': (f'learning_rate:{over}', f'gamma:{over}', f'beta2:{over}', half_life, probability),
        }


PRESETS: Table[Preset] = Table(
    'preset',
    {
        'cifar10': Preset(0.05, 0.55, 5e6, 2e7, 512, 'cifar10', True),
        'ffhq64': Preset(2.0, 0.3, 5e5, 2e7, 256),
        'ffhq256': Preset(150.0, 0.3, 5e5, 2e7, 256),
        'imagenet32': Preset(0.5, 0.5, 5e7, 2e8, 4096, 'imagenet_resized/32x32', True),
        'imagenet64': Preset(1.0, 0.4, 5e7, 2e8, 4096, 'imagenet_resized/64x64', True),
    },
)
"""Name -> settings, of the authors' code."""
