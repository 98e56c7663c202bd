"""The manual is true: its tables equal the defaults, its examples run."""
