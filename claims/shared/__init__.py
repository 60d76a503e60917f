"""What the claims share: their data, small encoders, and the files that keep their results."""
