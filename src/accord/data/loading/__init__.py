"""From rows to batches: in which order, cut and put together, or with features in their place."""
