//go:build !linux

package load

import "context"

// Run plays a scenario. Here it cannot, and returns [ErrPlatform].
func Run(context.Context, Config) (Result, error) { return Result{}, ErrPlatform }
