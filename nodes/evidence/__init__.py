"""The traces of a cycle, and what of them is shown to a language model."""
