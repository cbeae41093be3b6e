"""Make a trained image classifier forget, and show whether it did."""

__version__ = "0.1.0"
