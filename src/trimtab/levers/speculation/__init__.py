"""Speculation: a drafter proposes tokens, the model checks several in one step and says what it would have said."""
