"""Trimtab: the small layer round a language model that makes a service cheaper, and proves it did not get worse."""

__version__ = "0.1.0"
