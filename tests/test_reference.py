"""The pages of the reference."""

import re
import subprocess
import sys

import pytest

pytest.importorskip('pdoc')


def test_the_pages_are_built_without_a_warning(tmp_path):
    command = [sys.executable, '-W', 'error', '-m', 'gan_jax.reference', str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    assert 'Mescheder' in (tmp_path / 'gan_jax/penalties.html').read_text()
    # Types are shown as one would write them.
    text = re.sub('<[^>]*>', '', (tmp_path / 'gan_jax/penalties.html').read_text())
    assert 'gamma: float = 1.0) -> Callable[[Callable[[jax.Array], jax.Array], jax.Array' in text
    # Names that a package imports on first access have their page entries too.
    assert 'frechet_distance' in (tmp_path / 'gan_jax/metrics.html').read_text()
