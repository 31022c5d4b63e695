//go:build unix

package credentialprovider

import (
	"os/exec"
	"syscall"
)

// endWithHelpers has the end of a command's context end the programs that it started
// too.
func endWithHelpers(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
