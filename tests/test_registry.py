"""A method by its name, and the one line that refuses what is not there."""

import pytest

from gan_jax import (
    InputError,
    augmentations,
    divergences,
    features,
    objectives,
    optimizers,
    penalties,
    pipeline,
    regularizers,
    schedules,
)
from gan_jax.metrics.extractors import EXTRACTORS
from gan_jax.networks.minibatch import MINIBATCH_LAYERS
from gan_jax.registry import Table, build, choices, leaves_open, settings

TABLES = {
    'objective': objectives.OBJECTIVES,
    'divergence': divergences.DIVERGENCES,
    'penalty': penalties.PENALTIES,
    'augmentation': augmentations.AUGMENTATIONS,
    'transform': augmentations.TRANSFORMS,
    'transform of ADA': pipeline.STAGES,
    'regularizer': regularizers.REGULARIZERS,
    'feature loss': features.FEATURES,
    'optimizers': optimizers.OPTIMIZERS,
    'schedule over images': schedules.ANNEALED,
}


def example(scale: float = 1.0, name: str = 'x', flag: bool = False, place: str | None = None):
    if scale < 0:
        raise ValueError(f'scale must be at least 0, got {scale}')
    return scale, name, flag, place


def typed(count: int = 1, share: float | None = None, flag: bool = False, name: str = 'x', names: str | list[str] = '') -> tuple:
    return count, share, flag, name, names


TABLE = Table('example', {'example': example, 'bare': lambda: 'bare', 'typed': typed})


@pytest.mark.parametrize(('noun', 'table'), TABLES.items())
def test_every_table_names_the_nearest_known(noun, table):
    name = next(iter(table))
    with pytest.raises(InputError, match=f"unknown {noun} '{name}x'; did you mean {name}"):
        table[name + 'x']
    with pytest.raises(InputError, match=f'known: .*{name}'):
        table['%']
    assert name + 'x' not in table and table.get('%') is None


@pytest.mark.parametrize('table', [table for noun, table in TABLES.items() if not noun.startswith('transform')])
def test_the_choices_of_a_table_select_its_members_with_their_defaults(table):
    assert [text.partition(':')[0] for text in choices(table)] == list(table)
    for text in choices(table):
        name = text.partition(':')[0]
        given = {key: '+'.join(x) if isinstance(x, tuple) else x for key, x in settings(table, name).items()}
        assert settings(table, text) == given
        build(table, text)


def test_choices_say_defaults_as_they_are_written():
    typed_one = 'typed:count=1,share=None,flag=False,name=x,names='
    assert choices(TABLE) == ['example:scale=1,name=x,flag=False,place=None', 'bare', typed_one]


def test_settings_are_read_as_literals_or_strings():
    assert build(TABLE, 'bare') == 'bare'
    assert build(TABLE, 'example') == (1.0, 'x', False, None)
    assert build(TABLE, 'example:scale=.5,name=a+b,flag=True') == (0.5, 'a+b', True, None)


def test_values_are_of_their_parameters_types():
    found = build(TABLE, 'typed:count=2.0,share=3,flag=True,name=a,names=5')
    assert found == (2, 3, True, 'a', 5) and type(found[0]) is int
    assert build(TABLE, 'typed:share=None') == build(TABLE, 'typed')


def test_what_a_text_leaves_open():
    found = [leaves_open(TABLE, text, 'scale') for text in ('example', 'example:name=a,flag=True', 'example:scale=2', 'bare')]
    assert found == [True, True, False, False]
    with pytest.raises(InputError, match='did you mean example'):
        leaves_open(TABLE, 'exampel', 'scale')


def test_context_goes_to_those_who_take_it():
    assert build(TABLE, 'bare', place='i') == 'bare'
    assert build(TABLE, 'example', place='i', seed=3) == (1.0, 'x', False, 'i')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('exmple', "unknown example 'exmple'; did you mean example"),
        ('example:scal=1', 'example example has no setting .scal.; it has: scale, name'),
        ('example:scale', 'settings must be written name=value'),
        ('example:scale=-1', "example 'example:scale=-1': scale must be at least 0, got -1"),
        ('example:scale=a', 'example .example:scale=a.'),
        ('bare:x=1', 'has no setting .x.; it has: none'),
        ('typed:count=1.5', "example 'typed:count=1.5': count must be a whole number, not 1.5"),
        ('typed:count=True', 'count must be a whole number, not True'),
        ('typed:count=1e999', 'count must be a whole number, not inf'),
        ('typed:share=a', "share must be a number, not 'a'"),
        ('typed:flag=1', 'flag must be True or False, not 1'),
        ('typed:name=3', 'name must be a string, not 3'),
    ],
)
def test_what_does_not_work_is_one_line(text, message):
    with pytest.raises(InputError, match=message) as error:
        build(TABLE, text)
    assert '\n' not in str(error.value)


def test_settings_of_a_named_divergence():
    build(objectives.OBJECTIVES, 'f_gan:divergence=alpha,a=0.5')
    for text in ('f_gan:divergence=alpha,pi=0.5', 'f_gan:divergence=alhpa', 'f_gan:divergence=alpha,a=1'):
        with pytest.raises(InputError):
            build(objectives.OBJECTIVES, text)


@pytest.mark.parametrize(
    ('table', 'text', 'message'),
    [
        (penalties.PENALTIES, 'wgan_gp:scale=x', "has no setting 'scale'; it has: weight, one_sided"),
        (objectives.OBJECTIVES, 'relativistic_average:scale=x', "has no setting 'scale'; it has: none"),
        (MINIBATCH_LAYERS, 'stddev:parent=x', "has no setting 'parent'; it has: group_size"),
        (MINIBATCH_LAYERS, 'stddev:group_size=0', 'group_size must be at least 1, not 0'),
        (penalties.PENALTIES, 'r1:gamma=1e999', 'gamma must be from 0 to 1000000, not inf'),
        (penalties.PENALTIES, 'r1:gamma=1,gamma=2', 'sets gamma twice'),
        (penalties.PENALTIES, 'r1:', "settings must be written name=value, not ''"),
        (penalties.PENALTIES, f'r1:gamma={"(" * 300}', 'gamma must be a number, not '),
        (optimizers.OPTIMIZERS, 'adam:beta1=2', 'beta1 must be at least 0 and below 1, not 2'),
        (optimizers.OPTIMIZERS, 'ttur:discriminator_rate=inf', "discriminator_rate must be a number, not 'inf'"),
        (augmentations.AUGMENTATIONS, 'packing:size=0', 'size must be from 1 to 1000, not 0'),
        (augmentations.AUGMENTATIONS, 'adaptive:target=1.5', 'target must be from -1 to 1, not 1.5'),
        (EXTRACTORS, 'squeezenet', 'it must be squeezenet:path=...'),
        (EXTRACTORS, 'classifier:size=28', 'it must be classifier:size=28,dataset=...'),
        (divergences.DIVERGENCES, 'alpha:a=1e400', 'a must be from -1000 to 1000, not inf'),
    ],
)
def test_settings_are_known_and_have_ranges(table, text, message):
    with pytest.raises(InputError, match=message):
        build(table, text)
