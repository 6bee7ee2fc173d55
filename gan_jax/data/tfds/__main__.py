"""`python -m gan_jax.data.tfds` prepares a data set."""

import argparse

from gan_jax.data import tfds
from gan_jax.errors import InputError


def main() -> None:
    """Prepares the data set named on the command line. Exits with status 2 if that is impossible."""
    parser = argparse.ArgumentParser(prog='python -m gan_jax.data.tfds', description='Prepare a TFDS data set as array_record.')
    parser.add_argument('name', help='SET, SET/CONFIG, SET:VERSION or SET/CONFIG:VERSION')
    parser.add_argument('--data-dir')
    parser.add_argument('--manual-dir')
    options = parser.parse_args()
    try:
        tfds.prepare(options.name, data_dir=options.data_dir, manual_dir=options.manual_dir)
    except InputError as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    print(f'{options.name} is ready in {tfds.directory(options.data_dir)}')


if __name__ == '__main__':
    main()
