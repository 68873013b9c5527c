"""PyTorch, or a reason why the tests of this folder are skipped.

Modules here take PyTorch from this one, so that importing any of them skips where it is missing.
"""

from __future__ import annotations

import pytest

MISSING = "torch is not installed: pip install 'distsim-train[torch]'"

torch = pytest.importorskip("torch", reason=MISSING)
FlopCounterMode = pytest.importorskip("torch.utils.flop_counter", reason=MISSING).FlopCounterMode
nn = torch.nn
functional = torch.nn.functional

# Modules are shapes alone or tiny: threads would only compete with the other processes of a run.
torch.set_num_threads(1)
