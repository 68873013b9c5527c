"""Results as one HTML file that opens without a network: pages of numbers, timelines and charts.

Python collects what a page shows as plain values (`page.Page`), one module a command; the scripts
and styles of ``static/`` draw it in the browser. Nothing of it is computed there.
"""

from __future__ import annotations
