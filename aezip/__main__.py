"""The program: `aezip`, or `python -m aezip`."""

import os
import sys


def main() -> None:
    """Run the command line."""
    # Work is shared out over the processors batch by batch and image by image; a BLAS that also
    # splits each of its small products only gets in the way. It reads this as NumPy is loaded.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    try:
        from aezip.cli import main as commands
    except KeyboardInterrupt:
        sys.exit(1)
    commands()


if __name__ == "__main__":
    main()
