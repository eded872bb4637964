"""Memory estimates before anything runs."""
