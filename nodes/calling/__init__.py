"""Calling a language model: within a budget, with retries, in the form it can answer in."""
