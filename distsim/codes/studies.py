"""DS7xx: plans and changes that are searched."""

from __future__ import annotations

from distsim.codes.info import CodeInfo

CODES: dict[str, CodeInfo] = {
    "DS710": CodeInfo(
        "list of changes not understood",
        "A file for distsim whatif --changes has kind: changes and a list of changes, each with a "
        "name and what it sets: dotted keys of the scenario, or factors of device, links, latency.",
        "Mend the line that the message names; docs/whatif.md shows the form.",
    ),
    "DS712": CodeInfo(
        "links that are not there",
        "A change names a class of links that the topology does not have; the message lists those "
        "that it has.",
        "Use one of them.",
    ),
    "DS720": CodeInfo(
        "no trace of a run on devices",
        "A trace of PyTorch's profiler has a list of events, among them kernels of a device "
        "(categories kernel, gpu_memcpy, gpu_memset) with finite times.",
        "Record it with ProfilerActivity.CUDA and write it with export_chrome_trace.",
    ),
    "DS721": CodeInfo(
        "Chakra trace that cannot be read",
        "A Chakra execution trace is a sequence of protobuf messages, each after its length: "
        "GlobalMetadata, then the nodes of one rank; the message says at which byte this one is "
        "not.",
        "Give a file NAME.RANK.et as it was written; copy it again if it is cut.",
    ),
    "DS722": CodeInfo(
        "too many nodes of Chakra traces",
        "Every rank has a node for each run of kernels and each message; the message says how "
        "many there may be over all ranks.",
        "Simulate fewer micro batches or devices.",
    ),
    "DS723": CodeInfo(
        "protobuf is missing",
        "Chakra traces are read and written with protobuf, which is an extra.",
        "pip install 'distsim-train[chakra]'.",
    ),
    "DS724": CodeInfo(
        "no stored result",
        "distsim diff reads a .json file as what distsim run --json prints, or -o writes, for "
        "one job; the message says what is missing.",
        "Write it again with distsim run SCENARIO -o FILE.",
    ),
    "DS725": CodeInfo(
        "two things that cannot be compared",
        "Changes are made one by one between two scenarios, up to 100 of them, and --set "
        "changes scenarios alone.",
        "Compare stored results, or scenarios that have more in common.",
    ),
    "DS726": CodeInfo(
        "address that cannot be listened on",
        "distsim serve listens on a port of this machine. Another program may have the port, it "
        "may be reserved, or the address is none of this machine's.",
        "Choose another port with --port, or 0 for any that is free.",
    ),
    "DS727": CodeInfo(
        "request that is refused",
        "distsim serve answers pages of its own and programs of this machine: the Host of a "
        "request is the server's, it comes from no other origin, and its body is JSON of the form "
        "that docs/serve.md has, up to a size.",
        "Open the address that distsim serve prints, or send what docs/serve.md shows.",
    ),
    "DS728": CodeInfo(
        "more work than the server does",
        "A prediction, a comparison and a sweep of distsim serve have limits on devices, passes, "
        "time, memory and number; the message says which was reached.",
        "Ask for less, or use the command line, which has no such limits.",
    ),
    "DS729": CodeInfo(
        "a file that is not shipped",
        "A scenario that comes over HTTP names models, devices, topologies, libraries, hosts and "
        "schedules of the catalogues; no file of this machine is read for it.",
        "Name something shipped, write it into the scenario as a block, or use the command line.",
    ),
    "DS730": CodeInfo(
        "a condition of --fail-if holds",
        "The result is one that --fail-if was told to fail on; the message has the values of "
        "its keys.",
        "Look at what changed with distsim diff, or change the condition.",
    ),
    "DS731": CodeInfo(
        "condition that cannot be read",
        "A condition of --fail-if compares keys of the result with numbers and their units by "
        "<, <=, >, >=, == and !=, calculates with + - * /, and joins comparisons by and, or, "
        "not.",
        "Correct it at the character that the message names, and put it in quotes.",
    ),
    "DS732": CodeInfo(
        "condition that cannot be checked",
        "A condition of --fail-if names a key that the result has not, or compares what cannot "
        "be compared: bytes with seconds, a text with a number.",
        "See the keys with distsim run --json; base.KEY exists in distsim diff alone.",
    ),
}
