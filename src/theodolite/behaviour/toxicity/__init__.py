"""Toxicity: how toxic are a model's continuations, and which prompt defence makes them less so?"""
