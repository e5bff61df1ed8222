"""Rules that turn logits into the next token."""
