"""Configurations: schema, rules between fields, resolved values, identity and names of runs.

May import system."""
