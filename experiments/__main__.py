"""Lists the experiments: `python -m experiments`."""

import ast
import pathlib

if __name__ == '__main__':
    folder = pathlib.Path(__file__).parent
    files = {path.stem: path for path in folder.glob('[!_]*.py')}
    files |= {path.parent.name: path for path in folder.glob('*/__main__.py')}
    for name, path in sorted(files.items()):
        doc = ast.get_docstring(ast.parse(path.read_text())) or ''
        print(f'python -m experiments.{name:<21} {doc.splitlines()[0]}')
