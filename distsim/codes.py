"""What each error code means: the table behind ``distsim explain CODE`` and docs/errors.md.

One entry a code, sorted. A code keeps its meaning for good: retire it, never reuse it.
"""

from __future__ import annotations

from typing import NamedTuple


class CodeInfo(NamedTuple):
    """What an error code means.

    Attributes
    ----------
    title : str
        The problem in a few words.
    explanation : str
        Why it is refused, in a few sentences.
    fix : str
        What to do about it.
    """

    title: str
    explanation: str
    fix: str


#: Headings of the hundreds.
SECTIONS = {
    "DS1": "Files and YAML",
    "DS2": "Keys, types, values and units",
    "DS3": "Parallel plans",
    "DS4": "Hardware and topology",
    "DS5": "Infeasible, or a check failed",
    "DS6": "Usage",
    "DS7": "Plans and changes that are searched",
}

CODES: dict[str, CodeInfo] = {
    "DS101": CodeInfo(
        "file not found",
        "Neither a file of that path nor a shipped one of that name exists. A word without a slash "
        "or a suffix is looked up among the shipped files first, then in the working directory.",
        "Check the spelling (the nearest shipped names are listed) or give a path that exists.",
    ),
    "DS102": CodeInfo(
        "not a regular file",
        "The path is a directory, a pipe, a socket or a device. Only regular files are read, so "
        "that no input can block or never end.",
        "Give the path of a file; write piped text to a file first.",
    ),
    "DS103": CodeInfo(
        "file cannot be read",
        "The operating system refused to open or read the file: permissions, a path that is too "
        "long, or a loop of links.",
        "Mend what the message names, for example with chmod, and run again.",
    ),
    "DS104": CodeInfo(
        "file too large",
        "Scenario, topology and device files are small texts; 1 MB is far above the largest "
        "sensible one. The limit keeps a wrong path from filling memory.",
        "Check that the path is the right file; describe repeated structure by counts.",
    ),
    "DS105": CodeInfo(
        "not UTF-8",
        "Files are read as UTF-8, with or without a byte order mark. Other encodings would turn "
        "into other text without notice.",
        "Save the file as UTF-8, for example with iconv -f LATIN1 -t UTF-8.",
    ),
    "DS106": CodeInfo(
        "file is empty",
        "The file holds nothing but blanks and comments.",
        "Write a mapping of keys to values; start from a shipped scenario.",
    ),
    "DS110": CodeInfo(
        "not YAML",
        "The parser stopped at the place shown. The cause may stand a line or two above: a bracket "
        "or quote left open, a colon without a blank after it, or lines that do not align.",
        "Mend the syntax at that place; quote texts that hold ': ', '#' or brackets.",
    ),
    "DS111": CodeInfo(
        "tab in the indentation",
        "YAML forbids tabs in indentation, because editors show them at different widths.",
        "Indent with blanks.",
    ),
    "DS112": CodeInfo(
        "nested too deep",
        "A scenario nests four levels; anything beyond 32 is a mistake or an attack.",
        "Flatten the file; look for brackets that are not closed.",
    ),
    "DS113": CodeInfo(
        "too many values",
        "The file has more than 100,000 values once each alias (*name) is replaced by what its "
        "anchor (&name) holds. Nested aliases grow exponentially.",
        "Use fewer aliases, or describe repeated structure by counts.",
    ),
    "DS114": CodeInfo(
        "key given twice",
        "The same key stands twice in one mapping. Most YAML readers silently keep the last one, "
        "so that one of the two values would be lost.",
        "Remove one of the two lines.",
    ),
    "DS115": CodeInfo(
        "several documents in one file",
        "A line of three dashes begins a second YAML document; one file is one document.",
        "Split the file in two.",
    ),
    "DS116": CodeInfo(
        "YAML tag",
        "Tags such as !!python/object or !include make a reader build objects or open files. None "
        "is accepted, not even the standard ones: types come from the schema.",
        "Remove the tag; quote a value that shall be a text.",
    ),
    "DS117": CodeInfo(
        "YAML merge key",
        "The key << copies another mapping into this one, with rules for which value wins that "
        "differ between readers.",
        "Write the keys out, or use an alias for the whole mapping.",
    ),
    "DS118": CodeInfo(
        "key is not a text",
        "Every key is a word. A number, a truth value, null or a collection as a key is a mistake.",
        "Write the key as a word, in quotes if it looks like a number.",
    ),
    "DS119": CodeInfo(
        "not a mapping at the top",
        "The file holds a list or a single value where a mapping of keys to values belongs.",
        "Write key: value lines, without dashes before them.",
    ),
    "DS120": CodeInfo(
        "value that YAML readers disagree on",
        "YAML 1.1 and 1.2 read on, off, yes, no, 1_000, 010, 0x10 and 1:30 as different things: a "
        "switch or a text, a thousand or a text, eight or ten, ninety or a text. None is accepted "
        "without quotes.",
        "Write true or false, a plain decimal number, or put the text in quotes.",
    ),
    "DS121": CodeInfo(
        "alias without an anchor",
        "An alias (*name) stands for a value that was marked with an anchor (&name) earlier in the "
        "file. This one was not, or it contains itself.",
        "Define the anchor above its first use, or write the value out.",
    ),
    "DS122": CodeInfo(
        "not XML",
        "The parser stopped at the place shown: an element that is not closed, a character that "
        "XML does not allow, or an encoding that is not the one stated.",
        "Mend that place, or dump the topology again if the file was cut off.",
    ),
    "DS123": CodeInfo(
        "XML with a document type",
        "A DOCTYPE can define entities, with which a file opens others or grows without bounds. No "
        "tool whose XML is read here writes one.",
        "Remove the DOCTYPE.",
    ),
    "DS124": CodeInfo(
        "XML of something else",
        "The document does not begin with <system>, as an NCCL topology does.",
        "Give the file that NCCL wrote to NCCL_TOPO_DUMP_FILE.",
    ),
    "DS125": CodeInfo(
        "not a cell of a pipeline schedule",
        "A schedule in PyTorch's CSV has one row a rank, and in each cell an action: stage, "
        "letters, micro batch, such as 0F0, 1B3, 2I1, 2W1 or 1SEND_F0. An empty cell waits; a "
        "forward and a backward pass that overlap stand in one cell, (0F4;7B0)OVERLAP_F_B.",
        "Mend the cell that the message names.",
    ),
    "DS126": CodeInfo(
        "stages of a pipeline schedule do not fit",
        "Each row of a schedule file is a rank. Stages are numbered from 0 in the order in which "
        "activations pass through them, each on one rank, as many on every rank.",
        "Mend the stage numbers at the place shown.",
    ),
    "DS127": CodeInfo(
        "pipeline schedule that is not whole",
        "Every micro batch passes every stage once forwards (F) and once backwards: in one piece "
        "(B) or as input gradient (I) and later weight gradient (W). One is missing or there "
        "twice.",
        "Add or remove the action that the message names.",
    ),
    "DS128": CodeInfo(
        "pipeline schedule that cannot run",
        "An action stands before one that it needs, or ranks wait for each other for ever: F waits "
        "for F of the stage before, B or I for B or I of the next stage, W for its I, and a rank "
        "keeps to its order.",
        "Move what is waited for before what waits.",
    ),
    "DS129": CodeInfo(
        "pipeline schedule too large",
        "The file has more than 2^20 actions, or numbers of more than nine digits. The limit keeps "
        "a wrong file from filling memory.",
        "Check that it is the right file; use fewer micro batches.",
    ),
    "DS201": CodeInfo(
        "unknown key",
        "The block has no such key. Unknown keys are refused, because a misspelt key would "
        "otherwise leave its default in force without notice.",
        "Use the nearest known key that the message names, or remove the line.",
    ),
    "DS202": CodeInfo(
        "wrong type",
        "The value is of another type than the key takes. Values are never converted: true is not "
        '1, 1.5 is not a count and "8" in quotes is a text.',
        "Write the value as the rule says, without quotes around numbers and switches.",
    ),
    "DS203": CodeInfo(
        "out of range",
        "The value is below or above what the key takes; the rule shows the limits.",
        "Choose a value within the limits.",
    ),
    "DS204": CodeInfo(
        "not one of the choices",
        "The key takes one of a few names, which the rule lists.",
        "Choose one of the names listed.",
    ),
    "DS205": CodeInfo(
        "missing key",
        "A key without a default is not there.",
        "Add the key; the example in the fix shows its form.",
    ),
    "DS206": CodeInfo(
        "options that exclude each other",
        "A block says two things of which only one can hold, or an option of another mode.",
        "Remove one of them.",
    ),
    "DS210": CodeInfo(
        "unit missing",
        "A quantity with a dimension is a number and its unit. A bare number could be bytes or "
        "gigabytes, bits or bytes per second.",
        "Write the unit, for example 25 MB, 400 Gbit/s or 2 us.",
    ),
    "DS211": CodeInfo(
        "unit of another dimension",
        "The unit measures something else than the key: GB is a size, GB/s is a rate.",
        "Use a unit of the dimension that the rule names.",
    ),
    "DS212": CodeInfo(
        "not a quantity",
        "The value is not a number followed by a known unit. Units are exact: GB is 10^9 bytes, "
        "GiB is 2^30 bytes, Gbit is 10^9 bits; Gb and Gbps are refused because they are often "
        "mistaken for bytes.",
        "Write a number, a blank and a unit, for example 312 TFLOP/s.",
    ),
    "DS213": CodeInfo(
        "quantity out of range",
        "Sizes and durations cannot be negative, rates must be above zero, and every number must "
        "be finite.",
        "Correct the number.",
    ),
    "DS220": CodeInfo(
        "softmax that cannot be",
        "A sampled softmax has at least one word beside the target and fewer than the vocabulary; "
        "an adaptive one has cutoffs that rise to below the vocabulary, a share of the tokens for "
        "each, and tables of its own.",
        "Change the number that is named, or leave softmax out for the full one.",
    ),
    "DS221": CodeInfo(
        "unknown stack",
        "No software stack of that name is shipped.",
        "Choose one of the names listed, or change one with profile, fused and overlap.",
    ),
    "DS222": CodeInfo(
        "unknown model",
        "The catalogue has no model of that name.",
        "Choose one of the names listed, or write the model's shape as a block.",
    ),
    "DS223": CodeInfo(
        "heads do not divide the hidden size",
        "Without head_dim each head takes hidden / heads features, which must be a whole number.",
        "Change heads or hidden, or state head_dim.",
    ),
    "DS224": CodeInfo(
        "key/value heads do not divide the heads",
        "In grouped-query attention every head of keys and values serves the same number of "
        "query heads.",
        "Choose kv_heads among the divisors of heads.",
    ),
    "DS225": CodeInfo(
        "odd head dimension with rotary positions",
        "Rotary positions turn the features of a head in pairs, so their number must be even.",
        "Choose an even head_dim, or learned positions.",
    ),
    "DS226": CodeInfo(
        "key of experts in a dense model",
        "The model has no experts, so nothing can be said of them: how many a token goes to, how "
        "wide or how full they are.",
        "State experts and experts_per_token, or remove the key.",
    ),
    "DS227": CodeInfo(
        "more experts per token than experts",
        "The router sends each token to different experts, so it needs as many of them.",
        "Lower experts_per_token, or raise experts.",
    ),
    "DS228": CodeInfo(
        "no layer with experts",
        "dense_layers and moe_every leave no layer that is a mixture of experts.",
        "Lower one of them, or set experts: 0 for a dense model.",
    ),
    "DS229": CodeInfo(
        "shared experts that do not fit",
        "shared_ffn is the features of all shared experts together, so shared_experts divides it; "
        "one without the other, or a gate without both, says nothing.",
        "State shared_experts alone where they are as wide as the others, else both.",
    ),
    "DS230": CodeInfo(
        "sequence longer than the model's positions",
        "A model with learned positions has one vector for each position and cannot run a longer "
        "sequence.",
        "Shorten batch.sequence_length or choose a model with more positions.",
    ),
    "DS231": CodeInfo(
        "precision that the device lacks",
        "The device has no peak rate for the compute type, so no duration can be derived.",
        "Choose one of the precisions that the rule lists, or another device.",
    ),
    "DS232": CodeInfo(
        "fp8 that the device lacks",
        "The device states no rate for fp8, or its matrix units do not scale the small blocks that "
        "the recipe needs.",
        "Leave fp8 out, choose a recipe that the rule lists, or another device.",
    ),
    "DS233": CodeInfo(
        "unknown fp8 recipe",
        "A recipe says how tensors are scaled into the range of fp8. There is none of that name.",
        "Choose one of the names listed.",
    ),
    "DS234": CodeInfo(
        "fp8 beside 32 bit",
        "Only the products of linear layers run in fp8. All else stays in 16 bit, so the compute "
        "type is bf16 or fp16.",
        "Set compute: bf16, or leave fp8 out.",
    ),
    "DS235": CodeInfo(
        "sizes that fp8 products cannot have",
        "Tokens and features of a product in fp8 divide by a multiple that depends on the recipe: "
        "rows are aligned in memory, and blocks that share a scale are whole.",
        "Change the size that the message names, or choose a recipe with smaller blocks.",
    ),
    "DS236": CodeInfo(
        "not a histogram of lengths",
        "Sequence lengths are stated as entries [length, weight] or [low, high, weight], or as a "
        "mapping of length to weight. Lengths are whole numbers of at least 1; weights are at "
        "least 0 and not all 0, and only their proportions count.",
        "Write for example [[512, 0.7], [1024, 4096, 0.3]].",
    ),
    "DS237": CodeInfo(
        "sequence longer than a row",
        "Rows of padded and of packed micro batches have at most batch.sequence_length tokens, "
        "and no sequence is cut.",
        "Raise batch.sequence_length to the longest sequence, or leave longer ones out.",
    ),
    "DS238": CodeInfo(
        "bucket edges that do not ascend",
        "Sequences are padded to the next edge of a bucket. Edges ascend from above 0 to at most "
        "the length of a row, which is always the last one.",
        "Sort the edges and drop those beyond batch.sequence_length.",
    ),
    "DS239": CodeInfo(
        "attention that cannot be",
        "Numbers of a kind of attention go with that kind alone, latent attention needs its ranks "
        "and widths, and a causal mask does not go with keys that mix all tokens.",
        "Change the number that is named, or the kind of attention.",
    ),
    "DS240": CodeInfo(
        "malformed table of measurements",
        "A file of published runs has one header and a row a run. A column is missing, unknown or "
        "there twice, or a cell is not what its column takes.",
        "Mend the file at the line named; validation/README.md describes the columns.",
    ),
    "DS241": CodeInfo(
        "no measurements in a file",
        "A file given to compare with holds no row of nccl-tests output and is no CSV of sizes and "
        "times, or a row of it is not numbers greater than 0.",
        "Save the whole output of the benchmark, or write the columns size_bytes and time_us.",
    ),
    "DS242": CodeInfo(
        "measurements of another collective",
        "The header of a log, its bus bandwidth over its algorithm bandwidth, or the columns op "
        "and nranks of a CSV say that another operation or number of ranks was measured than is "
        "predicted. An error between the two would mean nothing.",
        "Ask for the collective and the number of devices that the message names.",
    ),
    "DS243": CodeInfo(
        "measurements of several systems",
        "A CSV holds rows of more than one system, or --where names a column or a value that the "
        "file does not have.",
        "Pick the rows with --where COLUMN=VALUE, for example --where id=NAME.",
    ),
    "DS244": CodeInfo(
        "not a matrix of shares",
        "Unequal shares of an all-to-all are n lines of n numbers for n devices, line by line the "
        "senders. The numbers are at least 0 and not all 0; they may be bytes, tokens or parts of "
        "one, for only their proportions count.",
        "Mend the line that the message names.",
    ),
    "DS245": CodeInfo(
        "several jobs",
        "The scenario file has jobs, and this command or function takes one of a single job.",
        "Run it with distsim run, or load it with load_jobs.",
    ),
    "DS246": CodeInfo(
        "no jobs",
        "load_jobs takes a scenario with several jobs, and this one has none.",
        "Load it with load.",
    ),
    "DS247": CodeInfo(
        "optimizer that cannot be",
        "There is no optimizer of that name, or it does not keep its moments in that type: sgd "
        "keeps none, and moments in int8 exist for rules that treat each parameter by itself.",
        "Choose one of the names or types that the rule lists.",
    ),
    "DS248": CodeInfo(
        "unknown gradient compression",
        "There is no way of that name to make gradients smaller before they are sent.",
        "Choose one of the names listed, or leave it out.",
    ),
    "DS249": CodeInfo(
        "option of a gradient compression out of range",
        "The density of topk is the share of gradients that is sent, above 0 and at most 1; the "
        "rank of powersgd is at least 1.",
        "Write a number in the range that the rule names.",
    ),
    "DS250": CodeInfo(
        "not JSON",
        "The parser of JSON stopped at the place shown. Comments, commas before a closing bracket, "
        "NaN and Infinity are not JSON; transformers writes none of them.",
        "Mend that place, or download the config.json again if it was cut off.",
    ),
    "DS251": CodeInfo(
        "unknown model_type",
        "The model_type of a Hugging Face config.json says what its other keys mean. This one is "
        "missing or not known.",
        "Check that it is the config.json of a model, or describe the model as a block.",
    ),
    "DS252": CodeInfo(
        "model_type that is not modelled",
        "Models of this type have a part for which there are no operators, which the message "
        "names. Leaving it out would give a wrong time and a wrong number of parameters.",
        "Describe a model close to it as a block, or choose another one.",
    ),
    "DS253": CodeInfo(
        "part of a model that is not modelled",
        "The type of the model is known, but this setting of its config.json adds or changes "
        "something for which there are no operators.",
        "Describe a model close to it as a block, or choose another one.",
    ),
    "DS254": CodeInfo(
        "value of a config.json of the wrong type or range",
        "Counts are whole numbers without quotes, switches are true or false, shares are numbers "
        "from 0 to 1. null is accepted where the configuration class takes it.",
        "Write a value as the rule says.",
    ),
    "DS255": CodeInfo(
        "key missing in a config.json",
        "The configuration class has no default for this key, so the model cannot be known.",
        "Add the key, or download the config.json again.",
    ),
    "DS256": CodeInfo(
        "two names of one key that differ",
        "Some keys have two names, such as n_embd and hidden_size of GPT-2. Both are given, with "
        "different values.",
        "Remove the wrong one.",
    ),
    "DS301": CodeInfo(
        "plan does not divide the devices",
        "Each model replica takes tp * pp * cp devices, and dp is the number of replicas: devices "
        "must be a whole multiple.",
        "Change the number of devices, or tp, pp or cp.",
    ),
    "DS302": CodeInfo(
        "plan does not multiply out",
        "dp was given and dp * tp * pp * cp is not the number of devices.",
        "Leave dp out, it is derived; or change the devices.",
    ),
    "DS303": CodeInfo(
        "batch does not divide",
        "The global batch is split over dp replicas and then into micro batches of micro_size "
        "sequences; both must come out whole.",
        "Choose a global_size that is a multiple of micro_size * dp.",
    ),
    "DS304": CodeInfo(
        "layers do not divide into stages",
        "Every model chunk (pipeline stages times virtual stages) holds the same whole number of "
        "layers unless the plan says otherwise.",
        "Choose pp * virtual_stages among the divisors of the layers, or set layers_per_stage.",
    ),
    "DS305": CodeInfo(
        "layers_per_stage does not add up",
        "layers_per_stage lists one count for each stage, or for each model chunk, and the counts "
        "sum to the layers of the model.",
        "Correct the counts.",
    ),
    "DS306": CodeInfo(
        "tp does not divide the model",
        "Tensor parallelism gives each rank whole attention heads, whole key/value heads and an "
        "equal part of the feed-forward layer.",
        "Choose tp among the divisors that the fix lists.",
    ),
    "DS307": CodeInfo(
        "sequence parallelism does not apply",
        "Sequence parallelism divides the tokens of a sequence over the tensor-parallel group: it "
        "needs tp > 1 and a sequence length that tp divides.",
        "Set tp > 1, change the sequence length, or turn sequence_parallel off.",
    ),
    "DS308": CodeInfo(
        "strategies that do not go together",
        "Two parts of the plan, or the plan and the model, exclude each other: one undoes what the "
        "other needs, or there is nothing for it to divide. The rule says which.",
        "Leave one of them out, as the fix says.",
    ),
    "DS309": CodeInfo(
        "context parallelism does not divide the model",
        "Context parallelism divides the tokens of each sequence, into two parts a rank where a "
        "causal mask is balanced; an all-to-all also deals out whole attention heads. Blocks of "
        "attention can only be joined by what fused kernels keep.",
        "Change cp, cp_mode or the sequence length, or use a stack with flash attention.",
    ),
    "DS310": CodeInfo(
        "virtual stages without the interleaved schedule",
        "Only the interleaved schedule runs several model chunks on one pipeline rank.",
        "Set schedule: interleaved, or virtual_stages: 1.",
    ),
    "DS311": CodeInfo(
        "micro batches do not divide by the stages",
        "The interleaved schedule works on groups of pp micro batches, one chunk after another, so "
        "their number must be a multiple of pp.",
        "Change global_size, micro_size or dp so that it is, or use 1f1b.",
    ),
    "DS312": CodeInfo(
        "interleaving on a single stage",
        "Model chunks are interleaved over at least two pipeline stages.",
        "Set virtual_stages: 1, or pp > 1.",
    ),
    "DS313": CodeInfo(
        "more jobs than devices",
        "The jobs of a scenario take more devices together than its cluster has.",
        "Give the cluster more devices, or jobs fewer.",
    ),
    "DS314": CodeInfo(
        "micro batches do not suit the schedule",
        "DualPipe sends half of the micro batches through the pipeline from each end, at least pp "
        "of them. PipeDream-2BW keeps two versions of the weights, which suffice from pp micro "
        "batches a batch on.",
        "Change global_size, micro_size or dp, or use another schedule.",
    ),
    "DS315": CodeInfo(
        "stages do not suit the schedule",
        "DualPipe runs from both ends of the pipeline, and the two directions meet between two "
        "stages: their number is even.",
        "Choose an even pp, or another schedule.",
    ),
    "DS316": CodeInfo(
        "schedule file of another plan",
        "A schedule that is read from a file has the stages and micro batches that the file lists, "
        "and no others.",
        "Change pp, virtual_stages or the batch to those of the file, or write the file anew.",
    ),
    "DS317": CodeInfo(
        "order of work that is no schedule",
        "A micro batch misses a model chunk or passes it twice, a gradient comes before what it "
        "needs, or stages wait for each other for ever.",
        "Mend the order at the action that the message names.",
    ),
    "DS318": CodeInfo(
        "unknown pipeline schedule",
        "There is neither a schedule nor a file of that name.",
        "Use one of the names that the message lists, or the path of a CSV file.",
    ),
    "DS319": CodeInfo(
        "schedule too large to show",
        "A schedule is shown action by action, up to 2^20 of them.",
        "Ask for fewer stages or micro batches.",
    ),
    "DS320": CodeInfo(
        "ep does not divide the experts",
        "Expert parallelism deals out the experts of a layer evenly over ep ranks.",
        "Choose ep among the divisors of the experts.",
    ),
    "DS321": CodeInfo(
        "expert parallelism does not divide the ranks",
        "The ranks of a pipeline stage, tp * cp * dp of them, are divided once more for the "
        "experts, as etp * ep * edp; the number of replicas edp must be whole.",
        "Choose etp * ep among the divisors of tp * cp * dp.",
    ),
    "DS322": CodeInfo(
        "etp does not divide an expert",
        "Tensor parallelism of experts gives each rank an equal part of the features of an expert.",
        "Choose etp among the divisors of expert_ffn.",
    ),
    "DS323": CodeInfo(
        "experts with tensor parallelism, without sequence parallelism",
        "Without sequence parallelism every rank of a tensor-parallel group has all tokens, and "
        "would send each of them to its experts. Frameworks ask for sequence parallelism here.",
        "Set sequence_parallel: true, or tp: 1.",
    ),
    "DS324": CodeInfo(
        "load of experts that cannot be",
        "A histogram has one number for each expert, none of them negative and not all zero; the "
        "concentration of a random load is above 0.",
        "List the tokens of every expert, or give a concentration such as 1.0.",
    ),
    "DS330": CodeInfo(
        "optimizer offloaded without sharding",
        "Each rank sends the gradients of the shard that it updates to its host and fetches the "
        "new parameters: ZeRO-Offload builds on optimizer states that are sharded over dp.",
        "Set plan.zero_stage to 1 or more; 2 also frees the gradients on the device.",
    ),
    "DS331": CodeInfo(
        "parameters offloaded without ZeRO-3",
        "Parameters that live on the host are fetched shard by shard and gathered before each "
        "use, which only ZeRO-3 does.",
        "Set plan.zero_stage: 3, or keep the parameters on the device.",
    ),
    "DS332": CodeInfo(
        "parameters offloaded before the optimizer",
        "Optimizer states are six times as large as the parameters at 16 bit and are used once a "
        "step, not in every pass: they are what goes first.",
        "Offload the optimizer too.",
    ),
    "DS333": CodeInfo(
        "host memory too small",
        "What a rank keeps in host memory, states and pinned buffers, is more than its share of "
        "the memory of a node.",
        "Shard over more devices, offload to nvme, or name a host with more memory.",
    ),
    "DS334": CodeInfo(
        "drives of the host too small",
        "What a rank keeps on the drives of its host is more than its share of them, or the host "
        "has none.",
        "Shard over more devices, offload to cpu, or name a host with drives.",
    ),
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
    "DS501": CodeInfo(
        "does not fit into memory",
        "The fullest pipeline stage needs more memory than a device has. The step is predicted all "
        "the same; the report says what is over by how much and what each change would free.",
        "Shard more (zero_stage, tp, pp), keep less (recompute, micro_size), or use devices with "
        "more memory.",
    ),
    "DS520": CodeInfo(
        "tasks wait for each other in a circle",
        "The program of the step has a cycle, so no task of it can begin. Scenarios cannot cause "
        "this; a hand-made graph can.",
        "Remove one dependency of the circle; if a scenario led here, report it.",
    ),
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
        "No measurement to calibrate on",
        "None of the measurements is of a step, kernel or collective that can be predicted with "
        "this device and topology; the lines that were left out say why.",
        "Give what the lines lack, such as the scenario of the steps or --topology.",
    ),
    "DS638": CodeInfo(
        "Nothing identified",
        "The measurements leave every number as uncertain as it was before.",
        "Give more measurements, or of other kinds.",
    ),
    "DS639": CodeInfo(
        "No such number to fit",
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
        "Not a calibrated profile",
        "cluster.profile names a file that distsim calibrate wrote: kind: profile, with the schema "
        "that this version reads.",
        "Name the file that distsim calibrate wrote with -o, or calibrate anew.",
    ),
    "DS651": CodeInfo(
        "Profile of another cluster",
        "A profile holds numbers that were measured on one device and, for links, one topology. On "
        "another they would be wrong without a sign of it.",
        "Calibrate a profile for this device and topology, or leave cluster.profile out.",
    ),
    "DS652": CodeInfo(
        "Profile of links that are not there",
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
        "An objective is time, cost or energy, and energy needs the power of the device; a deadline "
        "and a budget are above 0; a start is a day.",
        "Correct what the message names.",
    ),
    "DS699": CodeInfo(
        "an error in distsim",
        "Something failed that no input should be able to cause. The exit code is 70.",
        "Run again with DISTSIM_DEBUG=1 and report the traceback together with the scenario.",
    ),
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
