//go:build unix && !linux

package testserver

import "os/exec"

// endWithTest does nothing, because only Linux supports this.
func endWithTest(*exec.Cmd) {}
