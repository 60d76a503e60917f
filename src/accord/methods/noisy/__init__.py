"""Methods for noisy labels and noisy pairs."""
