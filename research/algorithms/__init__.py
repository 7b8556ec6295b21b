"""Learning algorithms: pure functions over one state, which the loop never tells apart."""

from research.algorithms.algorithm import Algorithm, State
from research.algorithms.supervised import Supervised

__all__ = ["Algorithm", "State", "Supervised"]
