//go:build unix

package credentialprovider

import (
	"os/exec"
	"syscall"
)

// endWithHelpers kills the programs that a command started together with the command when
// its context ends.
func endWithHelpers(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
