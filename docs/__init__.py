"""The site: what builds it. `python -m docs.build --serve` is the command."""
