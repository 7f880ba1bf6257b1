"""Changing a prompt's text: rewriting it, and its learned guidelines and demonstrations."""
