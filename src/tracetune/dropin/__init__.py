"""What others' optimizers are called by, with ours behind it."""
