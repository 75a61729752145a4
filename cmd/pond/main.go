// Command pond serves a demo, measures servers, and diagnoses connections.
//
//	pond demo          serve a chat page that shows the features of pond
//	pond bench         measure a server under load, and verify every delivery
//	pond verify        find out whether a deployment loses messages
//	pond doctor        find out why clients cannot reach a server
//	pond version       print the version
//	pond completion    print a script for shell completion
//	pond help          print the flags of a command
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl+C ends the program during a slow shutdown
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
