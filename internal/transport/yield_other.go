//go:build !linux

package transport

import "runtime"

// yieldToReaders lets other goroutines run that are ready.
func yieldToReaders() { runtime.Gosched() }
