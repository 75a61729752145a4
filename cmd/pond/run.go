package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
)

// A command is what "pond NAME" does.
type command struct {
	name    string
	summary string // in the list of commands
	help    string // above its flags

	// setup declares the flags. The action that it returns runs when they are
	// parsed, until it is done or ctx is.
	setup func(flags *flag.FlagSet) action
}

type action func(ctx context.Context, stdout, stderr io.Writer) error

// errUsage says that the command line makes no sense, after the user was told why.
var errUsage = errors.New("usage")

var commands = []command{demoCommand, versionCommand}

// run runs the command that args begin with. It returns the exit code: 0 if
// all went well, 1 if the command failed, 2 if the command line makes no sense.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	default:
		fmt.Fprintf(stderr, "pond %s: %v\n", args[0], err)
		return 1
	}
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		usage(stderr)
		return errUsage
	}
	name, args := args[0], args[1:]
	if name == "help" && len(args) > 0 {
		name, args = args[0], []string{"-h"} // "pond help demo" is "pond demo -h"
	}
	switch name {
	case "help", "-h", "-help", "--help":
		usage(stdout)
		return nil
	}
	for _, c := range commands {
		if c.name == name {
			return c.run(ctx, args, stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "pond: unknown command %q\n\n", name)
	usage(stderr)
	return errUsage
}

func (c command) run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what it has to say goes where it belongs, below
	act := c.setup(flags)

	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.usage(stdout, flags)
		return nil
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "pond %s: %v\n\n", c.name, err)
		c.usage(stderr, flags)
		return errUsage
	}
	return act(ctx, stdout, stderr)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Pond is realtime messaging over WebSocket and Server-Sent Events.\n\n"+
		"Usage: pond <command> [flags]\n\nCommands:\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nRun \"pond help <command>\" for more about one of them.\n")
}

func (c command) usage(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintf(w, "Usage: pond %s [flags]\n\n%s\n\nFlags:\n", c.name, c.help)
	flags.SetOutput(w)
	flags.PrintDefaults()
}
