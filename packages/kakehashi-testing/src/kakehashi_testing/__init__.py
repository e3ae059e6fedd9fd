"""Conformance suite for kakehashi plugins.

Run it with ``pytest --pyargs kakehashi_testing.suite --kakehashi-plugin NAME`` or with
``kakehashi check NAME``. Importing this package imports nothing heavy: its pytest plugin is loaded in
every pytest run of whoever installs it.
"""
