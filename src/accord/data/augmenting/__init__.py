"""Views of a row: crops and colours of pictures and clips, changed texts, perturbed graphs."""
