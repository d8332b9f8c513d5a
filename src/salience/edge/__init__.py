"""What a person types: words checked and completed, mistakes answered in one line, names that may be built."""
