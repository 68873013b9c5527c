"""A run ends with a line on what was compared with PyTorch."""

from __future__ import annotations

from tests.torch.summary import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]
