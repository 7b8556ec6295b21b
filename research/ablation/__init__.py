"""Ablations: many variants and seeds of one experiment, trained in few compiled programs, compared with intervals."""
