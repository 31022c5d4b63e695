//go:build unix

package mounthelper

import (
	"os/exec"
	"syscall"
)

// endWithHelpers kills the programs that a command started together with the command when
// its context ends: mount(8) starts mount.nfs(8), which would mount when nobody expects it
// any more.
func endWithHelpers(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
