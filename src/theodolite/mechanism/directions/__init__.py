"""Directions in the residual stream: what they are, and the ways to estimate them."""
