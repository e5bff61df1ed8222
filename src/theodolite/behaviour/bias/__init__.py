"""Bias: are continuations about some groups kinder than about others, and what narrows the gap?"""
