//go:build !unix

package browser

import "os/exec"

// detach does nothing: here a browser is not ended with the command.
func detach(*exec.Cmd) {}
