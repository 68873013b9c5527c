"""Pages of what commands share: ``distsim help TOPIC``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A page.

    Attributes
    ----------
    title : str
    body : str
        At most 80 columns wide.
    """

    title: str
    body: str

    def text(self) -> str:
        """Return the page as text."""
        return f"{self.title}\n\n{self.body.strip(chr(10))}\n"


SCENARIO = Topic(
    "Scenario: what a file says",
    """
A scenario is a YAML file. Everything has a default but the cluster, the model
and the batch:

  schema: 1
  name: my-training
  cluster: {topology: dgx-h100-superpod, devices: 64}
  model: llama3-8b
  batch: {global_size: 512, micro_size: 1, sequence_length: 4096}
  plan: {tp: 2, pp: 2, sequence_parallel: true}
  precision: bf16
  optimizer: adam
  stack: megatron-core

  cluster    topology by name or file, number of devices, library, profile
  model      name, path of a Hugging Face config.json, or a block
  batch      sequences of a step and of a micro batch, and their length
  plan       tp, pp, cp, ep, dp, schedule, zero_stage, recompute, overlaps
  precision  type of the computation, or a block of types
  optimizer  name, or a block
  stack      software: what it fuses, overlaps and stores

All keys:                  distsim schema scenario
Start from one that ships: distsim scenarios show gpt3-175b-1024xa100 > my.yaml
Change a key for one run:  distsim run my.yaml --set plan.tp=4
Check without running:     distsim check my.yaml
""",
)

QUANTITIES = Topic(
    "Quantities: numbers with their units",
    """
In files and options a quantity has its unit: 80 GB, 400 Gbit/s, 2 us.

  size       B kB MB GB TB PB are powers of 1000, KiB MiB GiB TiB of 1024;
             bit kbit Mbit Gbit are eighths
  bandwidth  a size a second: 25 GB/s, 400 Gbit/s
  duration   ns us ms s min h d
  work       FLOP kFLOP MFLOP GFLOP TFLOP PFLOP; a rate with /s
  frequency  Hz kHz MHz GHz
  share      0.4 or 40%
  count      15T 300B 1.5M 2k are powers of 1000 (--tokens)
  money      5M$, 3.2M EUR, 750k USD (--budget)

Ranges (sweep, plan): 8:1024 doubles, 8:1024:x4 multiplies, 8:64:+8 adds, and
8,24,64 is a list. Sizes (collective): 1kB:8GB, 1MB:1GB:x10, 1MB,64MB.

In JSON all numbers are in SI units, and the name of a key ends in its unit:
step_s, peak_bytes, bandwidth_bytes_per_s, peak_flop_per_s, energy_j.
""",
)

CONDITIONS = Topic(
    "Conditions: what --fail-if understands",
    """
--fail-if CONDITION exits with 1 if the condition holds for the result, after
the result was printed and written. It may be given several times.

  keys         those of --json, with dots: mfu, memory.peak_bytes,
               memory.stages.0.peak_bytes; in diff base.KEY is of A
  numbers      with their unit: 70 GiB, 20 s, 40%; without one, as in JSON
  comparisons  < <= > >= == !=
  arithmetic   + - * / and parentheses
  logic        and, or, not, true, false
  texts        'in quotes', compared with == and !=

  distsim run my.yaml --fail-if 'mfu < 0.4'
  distsim run my.yaml --fail-if 'memory.peak_bytes > 70 GiB or step_s > 20 s'
  distsim diff a.json b.json --fail-if 'step_s > 1.02 * base.step_s'
  distsim check my.yaml --fail-if 'not memory.fits'

A condition that cannot be read, or has a key that the result lacks, is bad
input: exit code 2. Nothing in a condition is ever run as code.
""",
)

EXIT_CODES = Topic(
    "Exit codes",
    """
  0    done
  1    the plan does not fit into memory, nothing fits, a limit is missed, or a
       condition of --fail-if or --fail-above holds; the output is complete
  2    bad input, or a file that cannot be written
  70   an error in distsim itself
  130  interrupted (Ctrl-C); no file is left half-written
  141  who read the output went away (distsim run ... | head)

An error is told on standard error: its code, file and line, the value, the
rule that it breaks, and how to mend it. distsim explain CODE says more.
""",
)

OUTPUT = Topic(
    "Output: terminals, pipes and files",
    """
Results go to standard output, progress and errors to standard error.

On a terminal texts are as wide as it is and have colours. Tables that need
more go into blocks, or name the columns that they leave out. In a pipe or a
file nothing is wrapped or coloured: a row is a line, so that grep finds it.

  --json         everything, in SI units; distsim schema describes it
  --color        always or never, whatever the terminal is
  --quiet        no progress and no notes
  --verbose      what is done, and how long it took
  NO_COLOR       if set, no colours
  COLUMNS        width of texts, of pipes too
  DISTSIM_DEBUG  if set, tracebacks of errors in distsim itself

Files appear whole or not at all, and replace an older one whole. Names that
end in .gz are compressed. Results of sweeps are kept in the cache directory
of the user ($XDG_CACHE_HOME/distsim, by default ~/.cache/distsim).
""",
)

TOPICS = {
    "scenario": SCENARIO,
    "quantities": QUANTITIES,
    "conditions": CONDITIONS,
    "output": OUTPUT,
    "exit-codes": EXIT_CODES,
}
