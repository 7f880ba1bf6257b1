"""Which prompts failed runs speak against, told without a language model."""
