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

// A command is a subcommand of pond.
type command struct {
	name    string
	summary string // for the list of commands
	help    string // printed before the flags

	// arg is the name of the argument, such as URL, or a choice such as bash|zsh.
	// Brackets make it optional, and with "..." at its end it may be repeated. If arg
	// is empty, the command has no argument.
	arg string

	// setup declares the flags and returns the action to run after they are parsed.
	// The argument is flags.Arg(0), and several are flags.Args().
	setup func(flags *flag.FlagSet) action
}

type action func(ctx context.Context, stdout, stderr io.Writer) error

var commands = []command{demoCommand, benchCommand, verifyCommand, doctorCommand, versionCommand}

// allCommands also returns the commands that refer to all commands. In commands,
// they would cause an initialization cycle.
func allCommands() []command { return append(slices.Clone(commands), completionCommand(), helpCommand) }

// helpCommand is only for the list; dispatch implements it.
var helpCommand = command{name: "help", summary: "print the flags of a command", setup: func(*flag.FlagSet) action { return nil }}

// A usageError is the error of an invalid command line.
type usageError struct {
	problem string // or empty
	hint    string // printed after the problem
}

func (e *usageError) Error() string { return strings.TrimSpace(e.problem + "\n" + e.hint) }

// usagef returns the usageError of a command. It does not print the whole usage, because
// the user would have to scroll up to see the problem.
func usagef(command, format string, args ...any) error {
	return &usageError{
		problem: "pond " + command + ": " + fmt.Sprintf(format, args...),
		hint:    fmt.Sprintf("Run \"pond help %s\" for usage.", command),
	}
}

// run runs the command that args start with. It returns the exit code: 0 on success, 1 if
// the command failed, and 2 if the command line is invalid.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(stderr, err) // an error of stderr cannot be reported
	if _, ok := errors.AsType[*usageError](err); ok {
		return 2
	}
	return 1
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return &usageError{hint: usage()}
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
	return &usageError{fmt.Sprintf("pond: unknown command %q", name), "Run \"pond help\" for the list of commands."}
}

func (c command) run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints errors to stderr, and help to stdout
	act := c.setup(flags)

	err := c.parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		_, err := fmt.Fprintln(stdout, c.usage(flags))
		return err
	}
	if err != nil {
		return usagef(c.name, "%v", err)
	}
	err = act(ctx, stdout, stderr)
	if _, ok := errors.AsType[*usageError](err); err != nil && !ok {
		return fmt.Errorf("pond %s: %w", c.name, err)
	}
	return err
}

// parse parses flags before and after the argument.
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
		return fmt.Errorf("missing argument %s", c.arg)
	case c.arg != "" && !strings.Contains(c.arg, "...") && flags.NArg() > 1:
		return fmt.Errorf("unexpected argument %q", flags.Arg(1))
	}
	return nil
}

func usage() string {
	var b strings.Builder
	b.WriteString("Pond is a server for realtime messages over WebSocket and Server-Sent Events.\n\n" +
		"Usage: pond <command> [flags]\n\nCommands:\n")
	for _, c := range allCommands() {
		fmt.Fprintf(&b, "  %-10s  %s\n", c.name, c.summary)
	}
	b.WriteString("\nRun \"pond help <command>\" for the flags of a command.")
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
