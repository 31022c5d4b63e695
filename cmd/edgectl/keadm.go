package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// keadmLine says what a command of KubeEdge's keadm is here.
type keadmLine struct {
	command string // as it is typed after keadm, the longest that matches counts
	here    string // what to type
	note    string // what differs
}

// keadmLines lists keadm's commands.
func keadmLines() []keadmLine {
	return []keadmLine{
		{"init", "edgectl init", "it prepares the cluster; cloudcore is then a Deployment or a service"},
		{"manifest generate", "edgectl manifest", ""},
		{"manifest", "edgectl manifest", ""},
		{"gettoken", "edgectl token create --node NAME", "a token is for one node or a pattern of names, once, for an hour: there is no token for all"},
		{"join", "edgectl join -e CLOUD:10000 --token-file FILE -i NAME", "run it again after a failure; hooks are systemd drop-ins (systemctl edit edgecore)"},
		{"reset edge", "edgectl reset", "it lists what it removes, and asks"},
		{"reset cloud", "kubectl delete namespace edgekit-system", "with it go the CA and the join tokens: all nodes must join again"},
		{"reset", "edgectl reset", "it lists what it removes, and asks"},
		{"upgrade cloud", "edgectl upgrade cloud --plan", ""},
		{"upgrade edge", "edgectl upgrade FILE", "for many nodes: a NodeUpgradeJob"},
		{"upgrade", "edgectl upgrade FILE", "for many nodes: a NodeUpgradeJob"},
		{"backup edge", "edgectl state export FILE", "the version before is always kept: edgectl rollback"},
		{"rollback edge", "edgectl rollback", ""},
		{"config-update", "edgectl config set --of edgecore SETTING=VALUE", "for many nodes: a ConfigUpdateJob"},
		{"config images list", "edgectl images list", ""},
		{"config images pull", "edgectl images pull IMAGE", ""},
		{"config", "edgectl config print --of edgecore", ""},
		{"batch gen-config", "edgectl join --help", "the file is a list of '- {address: 192.0.2.7, node: edge-7}'"},
		{"batch", "edgectl join --many hosts.yaml -e CLOUD:10000", ""},
		{"debug check", "edgectl check", "with names of checks for some: edgectl check runtime dns"},
		{"debug diagnose node", "edgectl describe node", ""},
		{"debug diagnose pod", "edgectl describe pod NAME", ""},
		{"debug diagnose install", "edgectl check", ""},
		{"debug diagnose", "edgectl check", ""},
		{"debug get", "edgectl get pods", "pods, nodes, services, secrets, configmaps, endpointslices"},
		{"debug collect", "edgectl debug bundle", "it has no secrets"},
		{"debug", "edgectl check", ""},
		{"ctl get pod", "edgectl get pods", ""},
		{"ctl get device", "edgectl get devices", ""},
		{"ctl describe pod", "edgectl describe pod NAME", ""},
		{"ctl describe device", "edgectl device get NAME", ""},
		{"ctl edit device", "edgectl device edit NAME PROPERTY=VALUE", ""},
		{"ctl logs", "edgectl logs POD", ""},
		{"ctl exec", "edgectl exec POD -- COMMAND", ""},
		{"ctl restart pod", "edgectl restart NAME", ""},
		{"ctl confirm", "edgectl confirm", "edgectl refuse says no"},
		{"ctl unhold-upgrade pod", "edgectl unhold pod NAME", ""},
		{"ctl unhold-upgrade node", "edgectl unhold node", ""},
		{"ctl", "edgectl get pods", ""},
		{"version", "edgectl --version", ""},
		{"beta", "edgectl --help", "there are no beta commands"},
		{"deprecated", "edgectl --help", "the commands of old releases are not offered"},
	}
}

// keadmFlags are flags of keadm by the command that they belong to ("" is any), with what they
// are here; "" means that they have no counterpart.
func keadmFlags() map[string]map[string]string {
	return map[string]map[string]string{
		"init": {
			"--advertise-address": "cloudcore --advertise HOST:PORT", "--kube-config": "--kubeconfig FILE", "--set": "edgectl init --set", "--dry-run": "edgectl init --dry-run", "-d": "edgectl init --dry-run",
			"--profile": "", "--external-helm-root": "", "--manifests": "", "-f": "", "--force": "", "--skip-preflight-checks": "", "--print-final-values": "edgectl init --dry-run", "--image-repository": "edgectl init --help", "--kubeedge-version": "",
		},
		"join": {
			"-e": "-e HOST:PORT", "--cloudcore-ipport": "-e HOST:PORT", "-t": "--token-file FILE", "--token": "--token-file FILE", "-i": "-i NAME", "--edgenode-name": "-i NAME",
			"-p": "-p URL", "--remote-runtime-endpoint": "-p URL", "-l": "-l KEY=VALUE", "--labels": "-l KEY=VALUE", "--set": "--set SETTING=VALUE", "--hub-protocol": "--transport quic|websocket",
			"-s": "(one port for all)", "--certport": "(one port for all)", "--cgroupdriver": "(the runtime is asked; --set cgroup-driver=NAME)", "--certPath": "--data-dir DIR", "--tarballpath": "", "--image-repository": "",
			"--pre-run": "(systemctl edit edgecore)", "--post-run": "(systemctl edit edgecore)", "--kubeedge-version": "",
		},
		"reset":    {"--force": "--yes", "--pre-run": "", "--post-run": "", "--remote-runtime-endpoint": "(that of /etc/edgekit/edgecore.yaml)"},
		"upgrade":  {"--toVersion": "the artefact's reference", "--image": "the artefact's reference", "--image-digest": "--digest sha256:HEX", "--force": "", "--reuse-values": "", "--values": "", "--upgradeID": "", "--historyID": "", "--fromVersion": "", "--type": "", "--disable-backup": ""},
		"rollback": {"--historical-version": "--to VERSION"},
		"batch":    {"-c": "--many FILE", "--config": "--many FILE"},
		"debug":    {"-o": "--output", "-l": "", "-d": ""},
	}
}

// isKeadm reports whether the program was called as keadm.
func isKeadm(argv0 string) bool {
	return strings.TrimSuffix(filepath.Base(argv0), ".exe") == "keadm"
}

// exitKeadm is the exit status of the alias: nothing was done.
const exitKeadm = 2

// answerKeadm prints what to type instead of a command of keadm. It runs nothing.
func answerKeadm(args []string, out io.Writer) int {
	words := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	line := findKeadm(words)
	fmt.Fprintln(out, "This is edgekit, not KubeEdge: keadm is only an alias that says what to type. Nothing was done.")
	if line.here == "" {
		fmt.Fprintln(out, "  edgectl --help")
		return exitKeadm
	}
	fmt.Fprintf(out, "  %s\n", line.here)
	if line.note != "" {
		fmt.Fprintf(out, "%s\n", line.note)
	}
	first, _, _ := strings.Cut(line.command, " ")
	for _, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(flag, "-") {
			continue
		}
		switch here, known := keadmFlags()[first][flag]; {
		case !known:
			fmt.Fprintf(out, "%q: see %s --help\n", flag, strings.Join(strings.Fields(line.here)[:2], " "))
		case here == "":
			fmt.Fprintf(out, "%s: leave it out\n", flag)
		default:
			fmt.Fprintf(out, "%s: %s\n", flag, here)
		}
	}
	return exitKeadm
}

// findKeadm finds the line of a command: that with the most words.
func findKeadm(words []string) keadmLine {
	var best keadmLine
	for _, l := range keadmLines() {
		parts := strings.Fields(l.command)
		if len(parts) <= len(words) && slices.Equal(parts, words[:len(parts)]) && len(l.command) > len(best.command) {
			best = l
		}
	}
	return best
}
