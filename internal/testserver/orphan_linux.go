package testserver

import (
	"os/exec"
	"syscall"
)

// endWithTest makes the system end the process when the program of the test ends, even if
// that was a timeout and no cleanup ran.
func endWithTest(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
