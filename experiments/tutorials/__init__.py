"""A course on GANs in five parts: scripts in jupytext's percent format, and the pages that are made of them."""
