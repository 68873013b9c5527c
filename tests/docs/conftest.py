"""Pages of the site are opened by the browser of `tests.browser`."""

from __future__ import annotations

from tests.browser.conftest import browser

__all__ = ["browser"]
