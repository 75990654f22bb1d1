"""The quantization lever: a model in fewer bits, rounded with the service's own prompts in view."""
