package apiservertest

import (
	"os/exec"
	"strings"
	"testing"
)

// RunControllers runs some controllers of a real kube-controller-manager until the test ends, by
// their names for its flag --controllers.
func (a *Server) RunControllers(t *testing.T, names ...string) {
	t.Helper()
	run(t, t.TempDir(), Binary(t, "kube-*/kube-controller-manager"), "--kubeconfig="+a.Kubeconfig(t),
		"--controllers="+strings.Join(names, ","), "--leader-elect=false", "--secure-port=0")
}

// Kubectl runs kubectl with a kubeconfig and returns what it prints, faults included.
func Kubectl(t *testing.T, kubeconfig string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Binary(t, "kube-*/kubectl"), append([]string{"--kubeconfig=" + kubeconfig, "--cache-dir=" + t.TempDir()}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
