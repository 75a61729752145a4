//go:build !linux

package load

import "context"

const supported = false

// Run runs a scenario. On this system it returns [ErrPlatform].
func Run(context.Context, Config) (Result, error) { return Result{}, ErrPlatform }

// FindPIDs returns the processes that listen at an address of this machine. On this
// system it returns [ErrPlatform].
func FindPIDs(string) ([]int, error) { return nil, ErrPlatform }
