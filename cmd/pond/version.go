package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

var versionCommand = command{
	name:    "version",
	summary: "print the version",
	help:    "Version prints the version of pond, and of the Go that it was built with.",
	setup: func(*flag.FlagSet) action {
		return func(_ context.Context, stdout, _ io.Writer) error {
			_, err := fmt.Fprintf(stdout, "pond %s (%s %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}
	},
}

// version is what the go command knows: a tag, or the revision that was built.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
