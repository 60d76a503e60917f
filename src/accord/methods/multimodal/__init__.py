"""Methods over any number of modalities."""
