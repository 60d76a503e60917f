"""What the claims share: their data, and encoders small enough for it."""
