"""`python -m qatkit`."""

from qatkit.cli import main

main()
