"""DS1xx: files and YAML."""

from __future__ import annotations

from distsim.codes.info import CodeInfo

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
}
