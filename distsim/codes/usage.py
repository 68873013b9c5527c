"""DS6xx: usage."""

from __future__ import annotations

from distsim.codes.info import CodeInfo

CODES: dict[str, CodeInfo] = {
    "DS601": CodeInfo(
        "unknown error code",
        "The code to explain does not exist. Codes are DS and three digits.",
        "Copy the code from the error message.",
    ),
    "DS602": CodeInfo(
        "command line not understood",
        "The command, an option or an argument is unknown, missing or has a value that it does not "
        "take.",
        "Read the usage in the message, or the help of the command: distsim COMMAND --help.",
    ),
    "DS610": CodeInfo(
        "unknown validation source, device or kind",
        "No published measurements of that source, on that device or of that kind are shipped.",
        "Choose one of the names listed, or leave the option out for all.",
    ),
    "DS611": CodeInfo(
        "unknown collective or algorithm",
        "The command names a collective, or an algorithm of it, that does not exist.",
        "Use one of the names that the message lists.",
    ),
    "DS612": CodeInfo(
        "not a range of sizes",
        "Sizes are a range from:to that doubles, from:to:x4 for another factor, from:to:+1MB for a "
        "step, or a list, in whole bytes. kB, MB and GB are powers of 1000, KiB, MiB and GiB "
        "powers of 1024, and so are K, M and G without a B, as in nccl-tests.",
        "Write for example 1kB:8GB.",
    ),
    "DS613": CodeInfo(
        "algorithm that cannot run here",
        "Some algorithms need a power of two of members, or several members on each node.",
        "Choose another algorithm, or auto.",
    ),
    "DS614": CodeInfo(
        "unequal shares that cannot be",
        "Only an all-to-all has unequal shares, from a file (--shares) or by a skew (--skew): zipf "
        "and its exponent, or dirichlet and its concentration.",
        "Write for example --skew zipf:1.2.",
    ),
    "DS615": CodeInfo(
        "choice of measurements not understood",
        "--where takes the column of a file, an equals sign and a value; it and --in-place choose "
        "among the measurements of --compare.",
        "Write for example --compare FILE --where id=NAME.",
    ),
    "DS620": CodeInfo(
        "--set without a key and a value",
        "A change is written KEY=VALUE with a dotted key, for example plan.tp=4.",
        "Write the key, an equals sign and the value, in quotes if the shell would split it.",
    ),
    "DS621": CodeInfo(
        "--set goes through a value that is no mapping",
        "A dotted key descends through mappings; one of its parts is a plain value or a list.",
        "Set that whole value instead, for example model='{layers: 2, ...}'.",
    ),
    "DS630": CodeInfo(
        "output cannot be written",
        "The target is a directory, its directory is missing or may not be written, the disk is "
        "full, or it is a file that the same command reads or writes otherwise. A file is written "
        "whole or not at all: an older one of that name is kept.",
        "Choose another file, or make room.",
    ),
    "DS631": CodeInfo(
        "measurements of an unknown format",
        "A file of measurements is known by its content, not by its name. In this one is nothing "
        "that a training log, nccl-tests, a profiler, a table or distsim measure has.",
        "Save the whole output of the run, or write a CSV with the columns step_s and tp, pp, ...",
    ),
    "DS632": CodeInfo(
        "no measurement that can be used",
        "The file has no time, or all are left out; the message says why the first one was.",
        "Mend what the message names, or leave the file out.",
    ),
    "DS633": CodeInfo(
        "step times without a whole scenario",
        "A step time is of use where cluster, model, batch and plan are known. A log says some of "
        "it; the rest stands in a scenario file of the same stem beside it.",
        "Write that file (cluster: {topology: NAME} may be all it needs), or give --scenario FILE.",
    ),
    "DS634": CodeInfo(
        "trace or timings that are not whole",
        "The JSON or compressed file breaks off or is damaged at the place shown: its writer was "
        "stopped, or it was copied in part.",
        "Write or copy the file again. Other files of the same command are read all the same.",
    ),
    "DS635": CodeInfo(
        "column of times that is not clear",
        "The table has several columns of times, or one without a unit in its name.",
        "Name the column that counts measured_s, step_s or step_ms.",
    ),
    "DS637": CodeInfo(
        "no measurement to calibrate on",
        "None of the measurements is of a step, kernel or collective that can be predicted with "
        "this device and topology; the lines that were left out say why.",
        "Give what the lines lack, such as the scenario of the steps or --topology.",
    ),
    "DS638": CodeInfo(
        "nothing identified",
        "The measurements leave every number as uncertain as it was before.",
        "Give more measurements, or of other kinds.",
    ),
    "DS639": CodeInfo(
        "no such number to fit",
        "--fit and --keep take keys of a profile, such as device.gemm_efficiency or "
        "links.rail.efficiency.",
        "Use one of the keys that the message lists.",
    ),
    "DS640": CodeInfo(
        "extra not installed",
        "The command needs a package that only an optional extra brings.",
        "Install the extra that the message names.",
    ),
    "DS641": CodeInfo(
        "not a picture",
        "The name of the file does not say which format to draw in.",
        "End the name in one of the formats that the rule lists.",
    ),
    "DS642": CodeInfo(
        "device that is not there",
        "Measuring runs on a GPU that PyTorch sees, or on the processor.",
        "Name a device that is there, or install a PyTorch that was built for it.",
    ),
    "DS643": CodeInfo(
        "unknown kind of measurement or number format",
        "Lists of --kinds and --dtypes have commas between their words.",
        "Choose from the words that the rule lists.",
    ),
    "DS644": CodeInfo(
        "no time to measure in",
        "A budget is a number of seconds above 0.",
        "Give more time, or leave --budget out.",
    ),
    "DS645": CodeInfo(
        "processes that cannot work together",
        "Collectives are measured among processes that find each other by RANK, WORLD_SIZE, "
        "MASTER_ADDR and MASTER_PORT. One of them is missing or wrong, or a process ended.",
        "Start all of them with torchrun.",
    ),
    "DS646": CodeInfo(
        "nothing was measured",
        "Everything that was asked for was skipped; the message says why. No file is written.",
        "Ask for other kinds or number formats, or give more time.",
    ),
    "DS650": CodeInfo(
        "not a calibrated profile",
        "cluster.profile names a file that distsim calibrate wrote: kind: profile, with the schema "
        "that this version reads.",
        "Name the file that distsim calibrate wrote with -o, or calibrate anew.",
    ),
    "DS651": CodeInfo(
        "profile of another cluster",
        "A profile holds numbers that were measured on one device and, for links, one topology. On "
        "another they would be wrong without a sign of it.",
        "Calibrate a profile for this device and topology, or leave cluster.profile out.",
    ),
    "DS652": CodeInfo(
        "profile of links that are not there",
        "A class of links in the profile is not one of the topology's.",
        "Calibrate with the topology that the scenario uses.",
    ),
    "DS660": CodeInfo(
        "not values of a sweep",
        "What follows KEY= is a list of values parted by commas, ranges among them: 8:64 doubles, "
        "8:64:x4 multiplies, 8:64:+8 adds. A range runs upwards from more than 0; it may have a "
        "unit, as 1 MiB:64 MiB. A value with commas stands in brackets or quotes.",
        "Write it as --devices 8:1024:x2 or --set plan.tp=1,2,4,8.",
    ),
    "DS661": CodeInfo(
        "a key that varies twice",
        "Two options give values for one key, so it is not clear what to combine.",
        "Give all values of the key in one option.",
    ),
    "DS662": CodeInfo(
        "too many combinations",
        "A sweep evaluates every combination of its values, and their number is the product of "
        "the lengths. The limit guards against one that takes days by mistake.",
        "Give fewer values, or allow as many with --max-points.",
    ),
    "DS663": CodeInfo(
        "nothing in the sweep is possible",
        "Every combination is impossible or does not fit into memory; the table says why for each.",
        "Read the reasons in the table, and vary something else.",
    ),
    "DS664": CodeInfo(
        "a batch that cannot grow so",
        "With --weak the global batch grows in proportion to the devices, from the count and the "
        "batch that the scenario has. At this count it would be no whole number of sequences.",
        "Choose counts that are multiples of the scenario's, or another global batch.",
    ),
    "DS665": CodeInfo(
        "a table of no known format",
        "The ending of the file says the format of the table.",
        "Name the file .parquet, .csv or .json.",
    ),
    "DS666": CodeInfo(
        "options of a sweep that do not go together",
        "Scaling, the best plan of each count and what goes along with the counts need counts: "
        "--devices. --weak and --strong exclude each other.",
        "Give --devices, or leave the option out.",
    ),
    "DS667": CodeInfo(
        "pandas or pyarrow is not installed",
        "Data frames, Arrow tables and Parquet files need them. They are an extra, so that "
        "distsim itself stays small.",
        "pip install 'distsim-train[tables]', or write CSV or JSON.",
    ),
    "DS670": CodeInfo(
        "amount of money not understood",
        "Money is a number and its currency, a price also what it is of. A number without a "
        "currency could be any, so it is refused.",
        "Write for example 5M USD, $5M or 3.2M EUR; in a list of prices 2.5 USD/h.",
    ),
    "DS671": CodeInfo(
        "currency without a rate of exchange",
        "Money is converted by the rates of the list of prices and by no others, since rates "
        "move: the message lists the currencies that it has.",
        "Use one of them, or state the rate under exchange in a file for --prices.",
    ),
    "DS672": CodeInfo(
        "device without a price",
        "The list of prices has no number for this device and way of paying, or for the power "
        "that it draws, on which its price depends. None is guessed.",
        "State it in a file of your own, which may hold that number alone, and give it with "
        "--prices FILE.",
    ),
    "DS673": CodeInfo(
        "list of prices not understood",
        "A key is unknown or missing, a number is out of range or not of the dimension that its "
        "key asks for, or a date is none. Each number has value, source and date.",
        "Mend the line that the message names; distsim/data/prices/list-2025.yaml shows the form.",
    ),
    "DS674": CodeInfo(
        "unknown region",
        "CO2 depends on whose electricity is drawn; the message lists the grids that the list of "
        "prices knows.",
        "Use one of them, or add yours under regions in a file for --prices.",
    ),
    "DS675": CodeInfo(
        "count not understood",
        "Tokens, steps and FLOP are numbers above 0; k, M, B and T stand for 10^3 to 10^12. An "
        "MFU is a share above 0 and at most 1.",
        "Write for example 15T or 1e24, without commas.",
    ),
    "DS676": CodeInfo(
        "question of cost that is not clear",
        "The length of a training is tokens or steps; a size is asked for of one of model, FLOP "
        "and money, and money needs a device; a way of paying is one of those listed.",
        "Give exactly what the message asks for.",
    ),
    "DS677": CodeInfo(
        "failures out of range",
        "Times between failures are above 0, detection, restart and repair at least 0, shares "
        "between 0 and 1, and there is at least one run.",
        "Correct the value that the message shows.",
    ),
    "DS678": CodeInfo(
        "training that does not end",
        "Failures come so often that hardly any interval between checkpoints is survived, or fewer "
        "nodes are left than the job needs and none comes back.",
        "Take checkpoints more often, restart faster, use fewer devices, or add spare nodes.",
    ),
    "DS679": CodeInfo(
        "interval between checkpoints that cannot be",
        "Checkpoints are taken between steps: the interval is auto, or a duration above 0, which "
        "is rounded to whole steps.",
        "Write auto or for example 30min.",
    ),
    "DS680": CodeInfo(
        "the cache cannot be used",
        "The file of kept results cannot be opened or written: permissions, no room, a lock that "
        "is not released, a directory in its place. Where it is the default one, the sweep runs "
        "without it and says so.",
        "Choose another file with --cache, or use --no-cache.",
    ),
    "DS681": CodeInfo(
        "not a cache, or a corrupt one",
        "The file holds something else, or was damaged. It is never overwritten. A cache holds "
        "nothing that cannot be evaluated again.",
        "Delete the file, name another with --cache, or use --no-cache.",
    ),
    "DS682": CodeInfo(
        "no Dask scheduler",
        "Nobody answers at the address, or the scheduler went away while the sweep ran. What was "
        "reported is in the cache.",
        "Start the scheduler, check its address, and run the same command again.",
    ),
    "DS683": CodeInfo(
        "the process of an evaluation died",
        "Every process that took this scenario was killed, as the operating system does where "
        "memory runs out. The other scenarios are not touched by it.",
        "Use fewer --jobs, or evaluate it where there is more memory.",
    ),
    "DS684": CodeInfo(
        "Dask workers that cannot evaluate",
        "A worker lacks distsim, has another version of it, or cannot run it. Its numbers would "
        "be others, so nothing is taken from it.",
        "Install the same version on all workers and start them again.",
    ),
    "DS685": CodeInfo(
        "Dask is not installed",
        "Dask is an extra, so that distsim itself stays small.",
        "pip install 'distsim-train[dask]', here and on the workers.",
    ),
    "DS686": CodeInfo(
        "a backend that cannot be",
        "Backends are loky, the processes of this machine, and dask, which needs the address of a "
        "scheduler and takes no number of jobs.",
        "Use --backend dask --scheduler tcp://host:8786, or leave both out.",
    ),
    "DS687": CodeInfo(
        "a cache of another form",
        "A version of distsim that stores results in another form wrote the file. It is left as "
        "it is.",
        "Use the version that wrote it, or name a file that does not exist yet.",
    ),
    "DS690": CodeInfo(
        "no whole number of nodes",
        "A plan is for clusters of whole nodes; none of the numbers of devices is a multiple of "
        "what a node has. Of a range with some that are, the others are left out and named.",
        "Use multiples of the devices of a node.",
    ),
    "DS691": CodeInfo(
        "empty space of plans",
        "No combination multiplies out and divides the model: devices by tp, pp and cp, the global "
        "batch by dp and the micro batch, heads by tp. The message has the commonest reasons.",
        "Allow more values, another global_size, or other numbers of devices.",
    ),
    "DS692": CodeInfo(
        "no plan fits into memory",
        "Every plan of the space needs more memory than a device has, also with everything "
        "sharded and recomputed; the message says what the smallest needs.",
        "Use more devices, or devices with more memory.",
    ),
    "DS693": CodeInfo(
        "a scenario that a search does not cover",
        "Plans are compared on devices of one kind and samples of one length.",
        "Remove what the message names, and run the plan that is found with it.",
    ),
    "DS694": CodeInfo(
        "a space of plans that is not understood",
        "A search varies some keys of the plan and the micro batch; the message lists them and the "
        "values that each can have.",
        "Correct the key or the value, or leave it out.",
    ),
    "DS695": CodeInfo(
        "no plan meets the deadline",
        "The fastest plan on the numbers of devices that were asked about takes longer; the "
        "message says how long, on how many devices, and by how much that is too long.",
        "Allow more time, more devices, or a larger global batch, which more devices can share.",
    ),
    "DS696": CodeInfo(
        "no plan keeps to the budget",
        "The cheapest plan, within the deadline if there is one, costs more; the message says how "
        "much, on how many devices, and by how much that is too much.",
        "Allow more money or more time, or pay for devices in another way.",
    ),
    "DS697": CodeInfo(
        "a question to a plan that is not clear",
        "An objective is time, cost or energy, and energy needs the power of the device; a "
        "deadline and a budget are above 0; a start is a day.",
        "Correct what the message names.",
    ),
    "DS699": CodeInfo(
        "an error in distsim",
        "Something failed that no input should be able to cause. The exit code is 70.",
        "Run again with DISTSIM_DEBUG=1 and report the traceback together with the scenario.",
    ),
}
