"""Which attention heads a behaviour hangs on: ablate one, or a few, and see how far it moves."""
