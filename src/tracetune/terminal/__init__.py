"""What the commands of `tracetune.cli` look up, do and print."""
