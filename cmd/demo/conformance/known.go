package main

import "strings"

// impossible are specs that cannot pass on some machines whatever the node's
// agent, with the reason. A stock kubelet fails them on the same machine.
var impossible = map[string]string{
	"ConfigMap should be consumable via the environment": "the shell of Debian's busybox drops variables with a dash in their name",
	"Secrets should be consumable via the environment":   "the shell of Debian's busybox drops variables with a dash in their name",
	"PrivilegedPod should enable privileged commands":    "it makes a dummy link, which needs the kernel's module dummy",
}

// excuse returns the reason why a spec cannot pass, or "".
func excuse(spec string) string {
	for part, reason := range impossible {
		if strings.Contains(spec, part) {
			return reason
		}
	}
	return ""
}
