//go:build !linux

package load

import "context"

const supported = false

// Run plays a scenario. Here it cannot, and returns [ErrPlatform].
func Run(context.Context, Config) (Result, error) { return Result{}, ErrPlatform }

// FindPIDs returns the processes that listen at an address of this machine. Here it
// cannot, and returns [ErrPlatform].
func FindPIDs(string) ([]int, error) { return nil, ErrPlatform }
