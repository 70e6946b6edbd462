"""All systems of the zoo trained for the same short time on the same real data: ``python -m benchmarks.zoo``."""
