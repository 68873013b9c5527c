"""``distsim completion``: completion for bash, zsh and fish."""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)

from distsim.cli.group import Command
from distsim.cli.page import About

VARIABLE = "_DISTSIM_COMPLETE"
_BASH = """\
%(complete_func)s() {
    mapfile -t COMPREPLY < <(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" \\
        %(complete_var)s=bash_complete %(prog_name)s)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a shown open
    local value help
    while IFS=$'\\t' read -r value help; do
        if [[ $value == *[=/] ]]; then
            open+=("$value")
        else
            shown+=("${value//:/\\\\:}${help:+:$help}")
        fi
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s)
    (( ${#shown} )) && _describe -V 'completions' shown
    (( ${#open} )) && compadd -S '' -V unsorted -a open
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""
_FISH = """\
function %(complete_func)s
    COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) \\
        %(complete_var)s=fish_complete %(prog_name)s
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Lines(ShellComplete):
    """Candidates one a line, with what they are behind a tab."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and that word."""
        words = split_arg_string(os.environ["COMP_WORDS"])
        at = int(os.environ["COMP_CWORD"])
        return words[1:at], words[at] if at < len(words) else ""

    def format_completion(self, item: CompletionItem) -> str:
        """Return the line of a candidate."""
        return f"{item.value}\t{item.help}" if item.help else str(item.value)


class _Bash(_Lines):
    """Bash breaks words at ``=`` and ``:``, so the line is read here, and the rest given back."""

    name = "bash"
    source_template = _BASH
    _incomplete = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it."""
        line = os.environ["COMP_LINE"].encode()[: int(os.environ["COMP_POINT"])].decode()
        words = split_arg_string(line)
        self._incomplete = words.pop() if words and not line[-1].isspace() else ""
        return words[1:], self._incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return what bash puts in the place of the part of the word that it knows."""
        given = self._incomplete
        known = max(given.rfind(mark) for mark in os.environ.get("COMP_WORDBREAKS", "=:")) + 1
        return str(item.value)[known:]


class _Zsh(_Lines):
    name = "zsh"
    source_template = _ZSH


class _Fish(_Lines):
    name = "fish"
    source_template = _FISH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it: fish gives the word itself."""
        words = split_arg_string(os.environ["COMP_WORDS"])
        incomplete = os.environ["COMP_CWORD"]
        if incomplete and words and words[-1] == incomplete:
            words.pop()
        return words[1:], incomplete


SHELLS = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def register() -> None:
    """Put these in the place of click's own."""
    for shell in SHELLS.values():
        add_completion_class(shell)


@click.command(
    cls=Command,
    about=About(
        arguments={"SHELL": "bash (4.4 or later), zsh or fish."},
        files={
            "~/.bashrc": "bash: add the line  source <(distsim completion bash)",
            "~/.zshrc": "zsh: add the line  source <(distsim completion zsh)  after compinit",
            "~/.config/fish/completions/distsim.fish": "fish: write the script there.",
        },
        see_also=("help",),
    ),
)
@click.argument("shell", type=click.Choice(sorted(SHELLS)), metavar="SHELL")
def completion(shell: str) -> None:
    """Print the script that completes distsim in a shell.

    It completes commands, options and their choices, the names of what ships
    (scenarios, models, devices, topologies, schedules, ...), the keys of a
    scenario behind --set and what they may be, and files of the right kind.

    \b
    Examples:
      source <(distsim completion bash)
      source <(distsim completion zsh)
      distsim completion fish > ~/.config/fish/completions/distsim.fish
    """
    from distsim.cli import cli
    from distsim.cli.output import print_raw

    print_raw(SHELLS[shell](cli, {}, "distsim", VARIABLE).source())
