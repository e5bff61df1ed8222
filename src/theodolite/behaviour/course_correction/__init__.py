"""Course correction: does a model that has begun a harmful reply turn away by itself?"""
