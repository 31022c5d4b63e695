package child

import (
	"os"
	"strconv"
	"syscall"
)

// attributes of the program: the kernel kills it when this program ends.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// rank is the program's oom_score_adj: pods that Kubernetes calls Burstable are between 2 and
// 999, and what must stay, as edgecore, is below 0.
const rank = 500

// yieldMemory has the kernel end the program before this one when memory is short.
func yieldMemory(pid int) error {
	return os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(rank)), 0)
}
