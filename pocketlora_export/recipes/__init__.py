"""What to lower how: recipes from YAML, and the build that follows them."""
