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
	help:    "Version prints the version of pond and the Go version that it was built with.",
	setup: func(*flag.FlagSet) action {
		return func(_ context.Context, stdout, _ io.Writer) error {
			_, err := fmt.Fprintf(stdout, "pond %s (%s %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}
	},
}

// version returns the version from the build information: a tag or a revision.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
