"""The README's example runs as it stands, and its commands are the ones that exist."""

import pathlib
import re

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def test_the_example_runs():
    code = re.search(r'```python\n(import jax.*?)```', README, re.DOTALL).group(1)
    names: dict = {}
    exec(code.replace('1000', '20'), names)
    assert names['points'].shape == (2500, 2) and int(names['state'].step) == 20
    np.testing.assert_allclose(names['loss'], np.log1p(np.exp(-np.ones(4))), rtol=1e-6)
    exec(re.search(r'```python\n(from gan_jax.metrics import.*?)```', README, re.DOTALL).group(1), names)
    assert 0 < names['distance'] < 2 and abs(names['value']) < 5 * names['standard_error']


def test_commands_and_files_exist():
    for module in set(re.findall(r'python -m ((?:experiments|gan_jax)[\w.]*)', README)):
        path = ROOT / module.replace('.', '/')
        assert path.with_suffix('.py').exists() or (path / '__main__.py').exists(), module
    for file in re.findall(r'`((?:networks|games)/\w+\.py)`', README):
        assert (ROOT / 'gan_jax' / file).exists(), file
