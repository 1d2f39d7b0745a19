"""Training: state, objective, step, loop, checkpoints."""
