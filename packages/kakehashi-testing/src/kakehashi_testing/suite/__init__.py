"""The tests that every plugin passes; see the package docstring for how to run them."""
