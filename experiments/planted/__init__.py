"""Planted failures, and which metric finds them."""
