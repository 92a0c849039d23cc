"""Describes the programs under test and deploys them."""
