"""From rows to batches: in which order, cut and put together, from a table or a stream, or features in their place."""
