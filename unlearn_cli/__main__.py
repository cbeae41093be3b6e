"""`python -m unlearn_cli`: what torchrun starts."""

from unlearn_cli.cli.app import main

main()
