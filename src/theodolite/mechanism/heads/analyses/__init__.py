"""`theodolite explain heads`: one file per question that is asked of a model's heads."""
