"""The residual space: what training added to the stream, direction by direction."""
