"""DS3xx: parallel plans."""

from __future__ import annotations

from distsim.codes.info import CodeInfo

CODES: dict[str, CodeInfo] = {
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
}
