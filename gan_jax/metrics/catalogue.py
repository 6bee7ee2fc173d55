"""What `python -m gan_jax.metrics --list` prints: every protocol and measure with what it fixes."""

import textwrap

from gan_jax.metrics.extractors import EXTRACTORS
from gan_jax.metrics.measure import Measure
from gan_jax.metrics.measures import MEASURES
from gan_jax.metrics.protocols import PROTOCOLS, Protocol
from gan_jax.registry import build, settings

_WIDTH = 120


def listing() -> str:
    """All protocols and measures, each with a sentence on what it computes and after which paper, and with what it fixes."""
    parts = ['Protocols (--protocol)']
    for name, protocol in PROTOCOLS.items():
        parts += [f'\n{name}', *_indented(protocol.measure.about, *of_protocol(protocol))]
    parts.append('\nMeasures (--measures), on the features of any --extractor')
    for name in MEASURES:
        measure = build(MEASURES, name)
        parts += [f'\n{name}', *_indented(measure.about, *of_measure(measure))]
    parts += ['\nExtractors (--extractor), which gan_jax/metrics/README.md describes', *_indented(', '.join(EXTRACTORS))]
    return '\n'.join(parts)


def of_protocol(protocol: Protocol) -> list[str]:
    """What a protocol fixes, in one line each: the features, the images, and the settings of the estimator."""
    own = settings(EXTRACTORS, protocol.extractor)
    features = f'features: {protocol.extractor.partition(":")[0]}, layer {own["features"]}, resize {own["resize"]}'
    reals = 'all' if protocol.reals is None else f'{protocol.reals:,}'
    split = protocol.measure.split or protocol.split
    real = f'real: {reals} of {split}' if protocol.measure.real else 'real: none'
    fakes = 'all' if protocol.fakes is None else f'{protocol.fakes:,}'
    return [features, f'{real}; generated: {fakes}', *_settings(protocol.measure)]


def of_measure(measure: Measure) -> list[str]:
    """What a measure takes, in one line each."""
    real = 'none' if measure.real is None else measure.real
    lines = [f'real: {real}; generated: {measure.fake}{"; with labels" if measure.labelled else ""}']
    if measure.split:
        lines.append(f'split: {measure.split}{" and test" if measure.held_out else ""}')
    return lines + _settings(measure)


def _settings(measure: Measure) -> list[str]:
    return [f'settings: {measure.settings}'] if measure.settings else []


def _indented(*lines: str) -> list[str]:
    return [textwrap.fill(line, _WIDTH, initial_indent='  ', subsequent_indent='    ') for line in lines if line]
