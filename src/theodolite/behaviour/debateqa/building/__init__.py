"""Write the perspectives on debatable questions with a model, from documents, for people to check.

Documents of each question are chosen; a model lists the views that they give, in a sentence each;
what says the same twice is left out; the model explains each view from its documents; people check
every perspective on a sheet, and what stands becomes the set. Nothing is dropped without a count.

Source: the building steps of arXiv:2408.01419, in our own words and with our own checks.
"""
