"""`metafunc completion`: what a shell needs to complete words at the tab key.

What is printed lets a shell ask `metafunc __complete WORD ...` with the words so far, of which the last is being typed.
The answer has a line for each word that it can become; no line leaves it to the shell's own names of files.
"""

from collections.abc import Sequence

from metafunc_cli.errors import OK, UsageError, unknown

HELP = """usage: metafunc completion bash|zsh|fish

Print what a shell needs to complete commands, names, flags and their values, presets and runs at the tab key:

  bash   echo 'eval "$(metafunc completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(metafunc completion zsh)"' >> ~/.zshrc, below the line with compinit
  fish   metafunc completion fish > ~/.config/fish/completions/metafunc.fish
"""
# bash takes --flag=value for three words, and what it replaces is the last of them. What ends in a colon, as the names
# that --space takes do, has no space after it, which fish knows by itself.
BASH = r"""_metafunc() {
    local words=() word i
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then
            ((i == COMP_CWORD)) && words+=("")
        else
            words+=("$word")
        fi
    done
    local IFS=$'\n'
    COMPREPLY=($(metafunc __complete "${words[@]}" 2>/dev/null))
    [[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace
}
complete -o bashdefault -o default -F _metafunc metafunc
"""
ZSH = r"""#compdef metafunc
_metafunc() {
    local -a found
    found=("${(@f)$(metafunc __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $found[1] == *: ]]; then
        compadd -S '' -- "${found[@]}"
    elif [[ -n $found ]]; then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
compdef _metafunc metafunc
"""
FISH = r"""function __metafunc_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (metafunc __complete $words[2..-1] 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c metafunc -f -a '(__metafunc_complete)'
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & {*argv}:
        print(HELP, end="")
        return OK
    if len(argv) != 1:
        raise UsageError("completion takes the name of a shell, for example:\n  metafunc completion bash")
    if argv[0] not in SHELLS:
        raise unknown("shell", argv[0], SHELLS)
    print(SHELLS[argv[0]], end="")
    return OK


def answer(words: Sequence[str], commands: Sequence[str]) -> int:
    """Print the words that the last one can become, a line each."""
    from metafunc_cli.settings.next_words import next_words

    for word in next_words(words, commands):
        print(word)
    return OK
