"""Let a model go on with sentence beginnings by several methods, all from the same originals.

What `toxicity` and `bias` share: what can be asked, the asking, scorers, cost, quality and export.
"""
