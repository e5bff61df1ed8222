"""Let a model rewrite its own text: by taking the readers' view, and by what that is compared with.

Every method is an inspect_ai solver in place of `generate()`, and any task can use it. They all
start from the same answer, so that what is compared is the rewriting.
"""
