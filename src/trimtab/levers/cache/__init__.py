"""The semantic cache: answers kept, and given again to who asks the same."""
