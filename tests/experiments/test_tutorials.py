"""The course: every tutorial runs to its end, its page is in step with it, and what it claims holds."""

import re
import subprocess
import sys

import pytest

from experiments.tutorials import pages
from experiments.tutorials.__main__ import FOLDER, TUTORIALS, Config, main
from gan_jax.errors import InputError

ROOT = FOLDER.parents[1]
SCRIPT = """# %% [markdown]
# # A title
#
# What follows.

# %%
STEPS = 1000
print('steps', STEPS)
assert STEPS == 1000, 'a claim'

# %%
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(1, 1), num='A line, drawn')
ax.plot([0, STEPS])
plt.show()
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / 'small.py'
    path.write_text(SCRIPT)
    return path


def test_a_page_holds_prose_code_output_and_pictures(script):
    page = pages.made(script)
    assert list(page.pictures) == ['small_a_line_drawn.png'] and page.pictures['small_a_line_drawn.png'].startswith(b'\x89PNG')
    parts = [
        '# A title\n\nWhat follows.',
        "print('steps', STEPS)",
        '```text\nsteps 1000\n```',
        '![A line, drawn](pictures/small_a_line',
    ]
    places = [page.text.index(part) for part in parts]
    assert places == sorted(places)
    assert pages.stripped(page.text) == pages.without_outputs(script)


def test_a_quick_run_is_short_and_claims_nothing(script):
    assert f'steps {pages.QUICK_STEPS}\n' in pages.made(script, quick=True).text


def test_a_claim_that_fails_fails_at_its_line(script):
    script.write_text(SCRIPT.replace('== 1000', '== 1001'))
    with pytest.raises(AssertionError, match='a claim') as failed:
        pages.made(script)
    assert failed.traceback[-1].lineno + 1 == SCRIPT.splitlines().index("assert STEPS == 1000, 'a claim'") + 1


@pytest.mark.parametrize('name', TUTORIALS)
def test_pages_are_in_step_with_their_scripts(name):
    text = (FOLDER / f'{name}.md').read_text()
    assert pages.stripped(text) == pages.without_outputs(TUTORIALS[name]), f'run python -m experiments.tutorials {name}'


def test_pictures_are_the_pages_and_small():
    linked = set()
    for name in TUTORIALS:
        linked |= set(re.findall(r'!\[[^\]]*\]\(pictures/([^)]*)\)', (FOLDER / f'{name}.md').read_text()))
    kept = {path.name: path.stat().st_size for path in (FOLDER / 'pictures').iterdir()}
    assert set(kept) == linked and sum(kept.values()) < 2e6


def test_links_lead_somewhere():
    for page in FOLDER.glob('*.md'):
        prose = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
        for target in re.findall(r'\]\(([^):#]+)\)', prose):
            assert (FOLDER / target).exists(), f'{page.name}: {target}'


def test_commands_exist():
    for page in FOLDER.glob('*.md'):
        for module in set(re.findall(r'python -m ((?:experiments|gan_jax)[\w.]*)', page.read_text())):
            path = ROOT / module.replace('.', '/')
            assert path.with_suffix('.py').exists() or (path / '__main__.py').exists(), f'{page.name}: {module}'


@pytest.mark.parametrize('name', TUTORIALS)
def test_tutorials_run_quickly(name):
    """A few steps of everything; a full run is below."""
    assert pages.made(TUTORIALS[name], quick=True).pictures


@pytest.mark.slow
@pytest.mark.parametrize('name', TUTORIALS)
def test_tutorials_run_and_their_claims_hold(name, tmp_path, monkeypatch):
    for variable in ('XLA_FLAGS', 'JAX_DISABLE_MOST_OPTIMIZATIONS'):  # of these tests, which would make it long
        monkeypatch.delenv(variable, raising=False)
    command = [sys.executable, '-m', 'experiments.tutorials', name, '--out', str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert (tmp_path / f'{name}.md').exists() and list((tmp_path / 'pictures').iterdir())


def test_an_unknown_tutorial_is_refused(tmp_path):
    with pytest.raises(InputError, match='did you mean judging'):
        main(Config(('juding',), str(tmp_path)))
    with pytest.raises(InputError, match='names images twice'):
        Config(('images', 'images'), str(tmp_path))
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='must be a folder'):
        Config(('images',), str(tmp_path / 'file'))
