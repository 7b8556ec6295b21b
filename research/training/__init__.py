"""Training: state, compiled updates, the loop, checkpoints, run directories."""
