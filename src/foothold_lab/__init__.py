"""Foothold: a laboratory of Linux address spaces."""
