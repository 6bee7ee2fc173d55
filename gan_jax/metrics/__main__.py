"""`python -m gan_jax.metrics`, the command in `gan_jax.metrics.command`."""

from gan_jax.commandline import run
from gan_jax.metrics import command
from gan_jax.metrics.command import Config


def main(config: Config) -> None:
    """Runs the command; messages about invalid input name this module."""
    command.main(config)


if __name__ == '__main__':
    run(main, Config)
