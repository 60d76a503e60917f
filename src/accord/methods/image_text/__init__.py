"""Image–text methods."""
