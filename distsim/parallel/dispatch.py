"""How often a token is sent to its experts.

``alltoall`` sends a token once to each of its experts (Lepikhin 2020, arXiv 2006.16668). ``deepep``
sends it once to each node that has some of them, and there once to each rank that has some
(DeepSeek 2024, arXiv 2412.19437, section 3.2.2; Megatron-Core's flexible dispatcher): k experts on
D distinct nodes cost D tokens between nodes in place of k. Results are summed up on the way back in
the same tree.

With experts chosen independently of where they are, k of E experts fall on
m (1 - C(E - E/m, k) / C(E, k)) of m parts in the mean (sampling without replacement). Routing may
be limited to some groups of experts (DeepSeek-V3: 4 of 8), and thereby to their nodes.
"""

from __future__ import annotations

from math import comb

#: Ways to send; the first is the default.
DISPATCHERS = ("alltoall", "deepep")


def distinct_parts(
    experts: int, chosen: int, parts: int, groups: int = 1, groups_chosen: int = 1
) -> float:
    """Return over how many of `parts` equal parts the experts of a token lie, in the mean.

    Parameters
    ----------
    experts, chosen : int
        E and k; `parts` divides E.
    groups, groups_chosen : int, optional
        A token's experts are in some of the groups, each choice of them being as likely. `groups`
        divides `parts`, or the other way round; otherwise all groups count.
    """
    if parts <= 1:
        return 1.0
    if parts % groups and groups % parts:
        groups = groups_chosen = 1
    whole = max(groups // parts, 1)  # groups that a part lies in
    size = experts // groups
    allowed = size * groups_chosen
    missed = 0.0
    for held in range(max(0, whole + groups_chosen - groups), min(whole, groups_chosen) + 1):
        ways = comb(whole, held) * comb(groups - whole, groups_chosen - held)
        inside = held * min(size, experts // parts)
        missed += ways / comb(groups, groups_chosen) * comb(allowed - inside, chosen)
    return parts * (1.0 - missed / comb(allowed, chosen))


def sent_copies(
    experts: int, chosen: int, ranks: int, nodes: int, groups: int = 0, groups_chosen: int = 0
) -> float:
    """Return how often a token is sent with ``deepep``, where ``alltoall`` sends it k times.

    Between nodes that is once for each node; inside one node, once for each rank. What a node
    passes on to its ranks runs beside, on links that are many times as fast, and is not counted.

    Parameters
    ----------
    ranks, nodes : int
        Of an expert-parallel group.
    groups, groups_chosen : int, optional
        Groups of experts, neighbours among themselves, and how many of them a token may use; 0:
        all.
    """
    parts = nodes if nodes > 1 else ranks
    if experts % parts:
        return float(chosen)
    return min(distinct_parts(experts, chosen, parts, groups or 1, groups_chosen or 1), chosen)
