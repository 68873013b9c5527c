"""DS4xx: hardware and topology."""

from __future__ import annotations

from distsim.codes.info import CodeInfo

CODES: dict[str, CodeInfo] = {
    "DS402": CodeInfo(
        "unknown key in a device or topology",
        "The block has a key that it does not know, or one that contradicts another: a link that "
        "names a class takes its numbers from it. Unknown keys are refused so that a slip of the "
        "pen does not pass for a default.",
        "Use the nearest known key, which the message offers, or remove it.",
    ),
    "DS403": CodeInfo(
        "key missing in a device or topology",
        "Numbers of hardware have no defaults: each must be stated, with its source.",
        "Add the key; the shipped devices and topologies show all of them.",
    ),
    "DS404": CodeInfo(
        "wrong type in a device or topology",
        "The value is a text where a number, list or mapping is needed, or the like.",
        "Write what the message asks for; the shipped files show the form.",
    ),
    "DS405": CodeInfo(
        "number of a device or topology out of range",
        "Efficiencies lie in (0, 1], counts are at least 1, latencies and overheads are at least "
        "0, and a topology has a device.",
        "Correct the number; state efficiency as a fraction, 0.9 for 90 percent.",
    ),
    "DS406": CodeInfo(
        "unknown kind of topology or status of a device",
        "The kinds of topologies are listed in the message; a device is calibrated or datasheet; a "
        "fat tree spreads traffic ideal or hashed, a dragonfly routes it minimal or valiant.",
        "Use one of the words that the message lists.",
    ),
    "DS407": CodeInfo(
        "adapters do not divide the devices of a node",
        "Every network adapter serves the same number of devices, so nics_per_node must divide "
        "devices_per_node.",
        "Use a divisor, or describe the node as an edge list.",
    ),
    "DS410": CodeInfo(
        "more devices than the topology has",
        "A node and an edge list have the devices that they list, a torus the places of its shape; "
        "what grows does so up to a size that its file states, such as max_units of a superpod.",
        "Ask for fewer devices, choose a larger topology, or raise that size in a copy of it.",
    ),
    "DS411": CodeInfo(
        "link to a vertex that does not exist",
        "Links join devices and switches that the edge list names.",
        "Mend the name, or add the device or switch.",
    ),
    "DS412": CodeInfo(
        "link stated twice",
        "There is one link each way between two vertices, and a link runs both ways unless it says "
        "directed: true.",
        "Join parallel links into one with their bandwidths added; mark one-way links.",
    ),
    "DS413": CodeInfo(
        "link from a vertex to itself",
        "A device reaches itself over no link, so such a link would never carry anything.",
        "Remove the link or name another end.",
    ),
    "DS414": CodeInfo(
        "unreachable device",
        "Every device must reach every other over directed links, or no collective can run.",
        "Add the missing links, or the missing direction of a directed one.",
    ),
    "DS415": CodeInfo(
        "two devices or switches of one name",
        "Links refer to devices and switches by name, so names are distinct.",
        "Rename one of the two.",
    ),
    "DS416": CodeInfo(
        "route between devices that are not there",
        "A route was asked for a device number outside the topology.",
        "Ask for as many devices as are used; devices count from 0.",
    ),
    "DS417": CodeInfo(
        "unknown link class",
        "A link names a class that link_classes of its edge list does not have.",
        "Mend the name, or add the class with bandwidth, efficiency, latency and source.",
    ),
    "DS418": CodeInfo(
        "topology with too many links",
        "Every directed link takes memory; the sizes in the file multiply to more links than the "
        "limit in the rule.",
        "Describe a smaller fabric, or fewer levels of it, and check for a digit too many.",
    ),
    "DS419": CodeInfo(
        "radix does not split into ports down and up",
        "In a fat tree given by its radix, every switch below the top has oversubscription times "
        "as many ports down as up, in whole numbers.",
        "Change radix or oversubscription, or state counts: devices_per_leaf, leaf_uplinks and so "
        "on.",
    ),
    "DS420": CodeInfo(
        "groups of a dragonfly that cannot all be joined",
        "Every group has a link to every other group, so its routers together need a port for each "
        "of them.",
        "Use fewer groups, more routers in each, or more global links per router.",
    ),
    "DS421": CodeInfo(
        "not the inside of one node",
        "Nodes of a cluster are copies of one node, whose inside is a kind without a network "
        "between nodes and has as many devices as devices_per_node says.",
        "Describe one node by node, full, cube_mesh, pcie or edges, and make the counts agree.",
    ),
    "DS422": CodeInfo(
        "adapter that is no switch of the node",
        "The adapters of a cluster are named among the switches of a node of kind edges. Nodes of "
        "other kinds have none, and get theirs beside the devices.",
        "Mend the name, or write nics_per_node instead of adapters.",
    ),
    "DS423": CodeInfo(
        "NCCL topology without a GPU",
        "The file has no <gpu> and no PCI device of the class of one, so there is nothing to train "
        "on.",
        "Dump the topology from a process that sees the GPUs.",
    ),
    "DS424": CodeInfo(
        "NVLink to a device that is not in the file",
        "The target of a link is the busid of another GPU of the file, or an NVSwitch.",
        "Dump the topology with all GPUs of the machine visible, or remove the link.",
    ),
    "DS425": CodeInfo(
        "number in an NCCL topology that cannot be",
        "A speed, width, count or latency is no number, is negative or zero where something must "
        "flow, or is beyond anything that is built.",
        "Correct the attribute, or leave it out so that a default is taken and noted.",
    ),
    "DS426": CodeInfo(
        "device of an NCCL topology that is not known",
        "The file states a generation (sm, gcn) and perhaps the PCI device; where no device "
        "profile, or more than one, goes with that, a person must say which one it is.",
        "Name the device: a shipped one, or a file of your own.",
    ),
    "DS427": CodeInfo(
        "GPU that reaches no other",
        "No link leads from the GPU to the others: it stands outside of every <cpu>, and has no "
        "NVLink.",
        "Move it into the <cpu> that it belongs to, or remove it.",
    ),
    "DS428": CodeInfo(
        "nodes that an NCCL topology cannot make up",
        "Several nodes need adapters to join them, and copies of one machine to consist of. A file "
        "with machines that differ describes just those.",
        "Ask for one node, or for as many as the file has machines.",
    ),
    "DS429": CodeInfo(
        "no algorithm is left for a collective",
        "The communication library of the cluster chooses from algorithms of which none can run on "
        "a group of ranks: NVLS runs inside one node, a torus needs all devices of the slice.",
        "Name another algorithm in algorithms of the library; ring runs everywhere.",
    ),
    "DS430": CodeInfo(
        "device without a known host",
        "Offload and checkpoints need the link, the memory and the processors of the host. Which "
        "host a device sits in is known of the shipped devices.",
        "Name the host: a shipped one, or a file of your own.",
    ),
    "DS431": CodeInfo(
        "uplinks do not divide the devices of a host",
        "Every uplink of a host serves the same number of devices, so devices_per_uplink must "
        "divide devices.",
        "Use a divisor of devices.",
    ),
    "DS440": CodeInfo(
        "text that selects no devices",
        "Devices that differ from the others are chosen by numbers, by ranges such as 8:16 (8 to "
        "15) or ::8 (every eighth), or by their nodes.",
        "Write device 5, devices 8:16, devices ::8, node 3 or nodes 2:4, or several of them with "
        "commas between.",
    ),
    "DS441": CodeInfo(
        "devices that the cluster does not have",
        "A rule for devices that differ names a device or a node beyond the last one, or a range "
        "with nothing in it. It is not cut short, for then the rule would do less than it says.",
        "Devices and nodes count from 0; choose among those that are there, or ask for more.",
    ),
    "DS442": CodeInfo(
        "device in two rules",
        "Two rules say how the same device differs from the others, so that one of them would be "
        "lost.",
        "Take the device out of one of them; one rule may state both speed and device.",
    ),
    "DS443": CodeInfo(
        "speed out of range",
        "The speed of a device is the rate of its kernels over that of an ordinary one: 1 is as "
        "fast, 0.8 takes 1.25 times as long. It is above 0 and at most 10.",
        "Write the rate over that of an ordinary device.",
    ),
    "DS444": CodeInfo(
        "rule that picks no link",
        "Slow links are chosen by their class, by a pattern of their names, or as those between "
        "two nodes; a rule says one of the three, and there must be such links.",
        "Correct the class, the pattern or the nodes; each direction is a link of its own.",
    ),
    "DS445": CodeInfo(
        "bandwidth or latency of a slow link out of range",
        "A slow link keeps a part of its bandwidth, above 0 and at most 1, and may add a latency. "
        "A link that carries nothing is not slow but missing: routes would have to avoid it.",
        "Write 0.5 for half of the bandwidth, and a finite latency with its unit.",
    ),
    "DS446": CodeInfo(
        "jitter that cannot be drawn",
        "The kind of noise is not known, or one of its numbers is out of range: sigma is at most 1 "
        "(0.3 for normal noise, so that no kernel takes less than a tenth of its time), shares and "
        "probabilities are between 0 and 1, and a slow-down is a factor of at least 1.",
        "Correct the number or choose one of the kinds.",
    ),
}
