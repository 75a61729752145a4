package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

const shells = "bash|zsh|fish"

// completionCommand is a function, because it refers to allCommands.
func completionCommand() command {
	return command{
		name:    "completion",
		summary: "print a script for shell completion",
		arg:     shells,
		help: "Completion prints a script that completes commands and flags of pond in a shell. Install it with:\n\n" +
			"  bash  source <(pond completion bash)            in ~/.bashrc\n" +
			"  zsh   source <(pond completion zsh)             in ~/.zshrc, after compinit\n" +
			"  fish  pond completion fish | source             in ~/.config/fish/config.fish",
		setup: func(flags *flag.FlagSet) action {
			return func(_ context.Context, stdout, _ io.Writer) error {
				script, ok := map[string]func([]command) string{
					"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion,
				}[flags.Arg(0)]
				if !ok {
					return usagef("completion", "unknown shell %q: want %s", flags.Arg(0), shells)
				}
				_, err := io.WriteString(stdout, script(allCommands()))
				return err
			}
		},
	}
}

// words returns the possible words after the command: its flags and choices.
func (c command) words(all []command) []string {
	var words []string
	for _, f := range c.flags() {
		words = append(words, "-"+f.Name)
	}
	return append(words, c.choices(all)...)
}

// choices returns the possible values of the argument, if they are known.
func (c command) choices(all []command) (words []string) {
	switch {
	case c.name == helpCommand.name:
		for _, other := range all {
			words = append(words, other.name)
		}
	case strings.Contains(c.arg, "|"):
		words = strings.Split(c.arg, "|")
	}
	return words
}

func (c command) flags() (list []*flag.Flag) {
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.setup(set)
	set.VisitAll(func(f *flag.Flag) { list = append(list, f) })
	return list
}

func bashCompletion(all []command) string {
	var names []string
	var cases strings.Builder
	for _, c := range all {
		names = append(names, c.name)
		fmt.Fprintf(&cases, "    %s) words=%q ;;\n", c.name, strings.Join(c.words(all), " "))
	}
	return fmt.Sprintf(`_pond() {
  local words=%q
  if [ "$COMP_CWORD" -gt 1 ]; then
    case "${COMP_WORDS[1]}" in
%s    *) words="" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _pond pond
`, strings.Join(names, " "), cases.String())
}

func zshCompletion(all []command) string {
	var names, cases strings.Builder
	for _, c := range all {
		fmt.Fprintf(&names, "      %s\n", quote(c.name+":"+c.summary))
		fmt.Fprintf(&cases, "    %s) compadd -- %s ;;\n", c.name, strings.Join(c.words(all), " "))
	}
	return fmt.Sprintf(`_pond() {
  if (( CURRENT == 2 )); then
    local -a names=(
%s    )
    _describe command names
    return
  fi
  case "${words[2]}" in
%s  esac
}
compdef _pond pond
`, names.String(), cases.String())
}

func fishCompletion(all []command) string {
	var b strings.Builder
	b.WriteString("complete -c pond -f\n")
	for _, c := range all {
		fmt.Fprintf(&b, "complete -c pond -n __fish_use_subcommand -a %s -d %s\n", c.name, quote(c.summary))
		in := fmt.Sprintf("complete -c pond -n '__fish_seen_subcommand_from %s'", c.name)
		for _, f := range c.flags() {
			_, usage := flag.UnquoteUsage(f)
			fmt.Fprintf(&b, "%s -o %s -d %s\n", in, f.Name, quote(usage))
		}
		for _, word := range c.choices(all) {
			fmt.Fprintf(&b, "%s -a %s\n", in, word)
		}
	}
	return b.String()
}

// quote quotes text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
