"""What no update may do, and what happens to one that does."""
