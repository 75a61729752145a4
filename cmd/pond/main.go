// Command pond runs a Pond without a program around it.
//
//	pond demo          a chat page to look at, with everything that a Pond can do
//	pond bench         load on a server, to see what it can do and whether anything is lost
//	pond doctor        what stands between a server and its clients, and in their way
//	pond version       which pond this is
//	pond completion    commands and flags for the shell to complete
//	pond help          what each command takes
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl+C ends a goodbye that takes too long
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
