"""Data that is made: composed scenes with all that is true of them, and noise that is put in on purpose."""
