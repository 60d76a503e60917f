"""Methods that train nothing: what was trained elsewhere, used as it is."""
