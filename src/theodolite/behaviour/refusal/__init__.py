"""Refusal: does the model turn down harmful requests, and only those?"""
