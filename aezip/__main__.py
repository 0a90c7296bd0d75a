"""`python -m aezip`."""

from aezip.cli import main

main()
