"""Diagnostics of any model's embedding space: how its modalities lie to each other and how they fill the sphere."""
