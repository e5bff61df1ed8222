"""Is the effect of perspective-taking visible inside the model, where a completion begins?

The stream is read at the token that opens a completion, which is the same one before and after the
turns that imagine readers, and projected on the direction from harmless to toxic texts. Beside it
stand a placebo of as many turns, random directions, and directions of shuffled labels.

Source: the question is that of arXiv:2407.15286, asked of arXiv:2407.15366; the measure is ours.
"""
