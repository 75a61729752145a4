package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A command is what "pond NAME" does.
type command struct {
	name    string
	summary string // in the list of commands
	help    string // above its flags

	// arg is what follows the name, such as URL, or a choice like bash|zsh. It is
	// required, unless it is in brackets; none if empty.
	arg string

	// setup declares the flags. The action that it returns runs when they are
	// parsed, until it is done or ctx is. The argument is flags.Arg(0).
	setup func(flags *flag.FlagSet) action
}

type action func(ctx context.Context, stdout, stderr io.Writer) error

var commands = []command{demoCommand, benchCommand, doctorCommand, versionCommand}

// allCommands has those as well that speak of all commands, and so cannot be
// where these are declared.
func allCommands() []command { return append(slices.Clone(commands), completionCommand(), helpCommand) }

// helpCommand is in the list only: dispatch does what it says.
var helpCommand = command{name: "help", summary: "print what a command takes", setup: func(*flag.FlagSet) action { return nil }}

// A misuse is a command line that makes no sense. Its usage is shown if there is one.
type misuse struct{ problem, usage string }

func (m *misuse) Error() string { return strings.TrimSpace(m.problem + "\n\n" + m.usage) }

// run runs the command that args begin with. It returns the exit code: 0 if
// all went well, 1 if the command failed, 2 if the command line makes no sense.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(stderr, err) // if that fails, there is nobody else to tell
	if _, ok := errors.AsType[*misuse](err); ok {
		return 2
	}
	return 1
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return &misuse{usage: usage()}
	}
	name, args := args[0], args[1:]
	if name == "help" && len(args) > 0 {
		name, args = args[0], []string{"-h"} // "pond help demo" is "pond demo -h"
	}
	switch name {
	case "help", "-h", "-help", "--help":
		_, err := fmt.Fprintln(stdout, usage())
		return err
	case "-version", "--version":
		name = versionCommand.name
	}
	for _, c := range allCommands() {
		if c.name == name {
			return c.run(ctx, args, stdout, stderr)
		}
	}
	return &misuse{fmt.Sprintf("pond: unknown command %q", name), usage()}
}

func (c command) run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // it would not know where which text belongs
	act := c.setup(flags)

	err := c.parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		_, err := fmt.Fprintln(stdout, c.usage(flags))
		return err
	}
	if err != nil {
		return &misuse{fmt.Sprintf("pond %s: %v", c.name, err), c.usage(flags)}
	}
	if err := act(ctx, stdout, stderr); err != nil {
		return fmt.Errorf("pond %s: %w", c.name, err)
	}
	return nil
}

// parse takes flags before and after the argument.
func (c command) parse(flags *flag.FlagSet, args []string) error {
	plain := []string{"--"}
	for {
		if err := flags.Parse(args); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		plain = append(plain, flags.Arg(0))
		args = flags.Args()[1:]
	}
	if err := flags.Parse(plain); err != nil {
		return err
	}
	switch {
	case c.arg == "" && flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case c.arg != "" && c.arg[0] != '[' && flags.NArg() == 0:
		return fmt.Errorf("%s is missing", c.arg)
	case c.arg != "" && flags.NArg() > 1:
		return fmt.Errorf("unexpected argument %q", flags.Arg(1))
	}
	return nil
}

func usage() string {
	var b strings.Builder
	b.WriteString("Pond is realtime messaging over WebSocket and Server-Sent Events.\n\n" +
		"Usage: pond <command> [flags]\n\nCommands:\n")
	for _, c := range allCommands() {
		fmt.Fprintf(&b, "  %-10s  %s\n", c.name, c.summary)
	}
	b.WriteString("\nRun \"pond help <command>\" for more about one of them.")
	return b.String()
}

func (c command) usage(flags *flag.FlagSet) string {
	var b strings.Builder
	flags.SetOutput(&b)
	flags.PrintDefaults()
	text := "Usage: pond " + c.name
	if b.Len() > 0 {
		text += " [flags]"
	}
	if c.arg != "" {
		text += " " + c.arg
	}
	text += "\n\n" + c.help
	if b.Len() > 0 {
		text += "\n\nFlags:\n" + strings.TrimSuffix(b.String(), "\n")
	}
	return text
}
