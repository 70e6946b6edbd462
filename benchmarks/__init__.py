"""Every figure that the README quotes, measured against its peers side by side: ``python -m benchmarks``."""
