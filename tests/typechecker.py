"""The checker of annotations in the tests: beartype, in which an int is a float, as in Python's own rules."""

import warnings

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep585DeprecationWarning

warnings.filterwarnings("ignore", category=BeartypeDecorHintPep585DeprecationWarning)
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
