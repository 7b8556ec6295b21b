"""``python -m research`` is the command ``research``."""

import sys

from research.cli import program

sys.exit(program())
