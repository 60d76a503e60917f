"""Methods for clips."""
