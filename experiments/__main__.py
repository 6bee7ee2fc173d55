"""Lists the experiments: `python -m experiments`."""

import ast
import pathlib

if __name__ == '__main__':
    for path in sorted(pathlib.Path(__file__).parent.glob('[!_]*.py')):
        doc = ast.get_docstring(ast.parse(path.read_text())) or ''
        print(f'python -m experiments.{path.stem:<21} {doc.splitlines()[0]}')
