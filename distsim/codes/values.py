"""DS2xx: keys, types, values and units."""

from __future__ import annotations

from distsim.codes.info import CodeInfo

CODES: dict[str, CodeInfo] = {
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
}
