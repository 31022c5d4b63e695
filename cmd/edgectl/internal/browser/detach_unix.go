//go:build unix

package browser

import (
	"os/exec"
	"syscall"
)

// detach makes a session for a program, so that Ctrl-C in the terminal does not end the browser
// that it starts.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
