"""Code shared by several experiments."""
