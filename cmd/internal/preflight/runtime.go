package preflight

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/edged/runtime"
)

// oldestContainerd is the oldest containerd that speaks CRI v1.
var oldestContainerd = version{1, 6}

// checkRuntime looks at the container runtime.
func checkRuntime(ctx context.Context, e *env) []Result {
	rt, err := e.Runtime(ctx, e.cfg.RuntimeEndpoint)
	if err != nil {
		return []Result{failure("install containerd 1.6 or later and start it (apt-get install containerd; systemctl enable --now containerd), or name its socket: runtime-endpoint in /etc/edgekit/edgecore.yaml", "%v", err)}
	}
	defer rt.Close()
	v, err := rt.Version(ctx)
	if err != nil {
		return []Result{failure("look at the runtime's log, or restart it", "the container runtime does not answer: %v", err)}
	}
	out := []Result{good("%s %s", v.Name, v.Version)}
	if have, ok := parseVersion(v.Version); ok && v.Name == "containerd" && have.less(oldestContainerd) {
		out[0] = failure("upgrade containerd to 1.6 or later", "containerd %s does not speak CRI v1", v.Version)
	}
	h, err := rt.Health(ctx)
	switch {
	case err != nil:
		return append(out, failure("look at the runtime's log, or restart it", "the runtime does not say how it is: %v", err))
	case !h.RuntimeReady:
		out = append(out, failure("look at the runtime's log, or restart it", "the runtime is not ready: %s", h.RuntimeMessage))
	default:
		out = append(out, good("the runtime is ready"))
	}
	if names := runtime.HandlerNames(h.Handlers); names != "" {
		out = append(out, good("handlers of runtime classes: %s", names))
	}
	return append(out, sandboxImage(ctx, rt))
}

// sandboxImage looks whether the image that every pod needs is on the machine.
func sandboxImage(ctx context.Context, rt Runtime) Result {
	const remedy = "with a registry in reach nothing; else: ctr -n k8s.io images import FILE, or name an image that is there in the runtime's configuration (sandbox_image; containerd 2: pinned_images sandbox)"
	name, err := rt.SandboxImage(ctx)
	if err == nil && name != "" {
		if _, found, err := rt.ImageStatus(ctx, name); err != nil || !found {
			return warning(remedy, "the sandbox image %s is not on the machine: it is pulled for the first pod", name)
		}
		return good("the sandbox image %s is on the machine", name)
	}
	images, err := rt.ListImages(ctx)
	if err != nil {
		return failure("look at the runtime's log, or restart it", "the runtime does not list its images: %v", err)
	}
	for _, i := range images {
		if i.Pinned {
			return good("the sandbox image %s is on the machine", strings.Join(i.Tags, ", "))
		}
	}
	return warning(remedy, "no pinned image is on the machine: the sandbox image is pulled for the first pod")
}

// binDirs are where plugins of CNI are.
func binDirs() []string { return []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"} }

const cniRemedy = "install a network: a CNI of your cluster as a DaemonSet, or the plain plugins (apt-get install containernetworking-plugins) and a file /etc/cni/net.d/10-edge.conflist; on Debian set containerd's bin_dir to /usr/lib/cni"

// checkCNI looks at the network configuration, and asks the runtime whether it has a network.
func checkCNI(ctx context.Context, e *env) []Result {
	out := []Result{e.cniConfig()}
	rt, err := e.Runtime(ctx, e.cfg.RuntimeEndpoint)
	if err != nil {
		return out // the check of the runtime says it
	}
	defer rt.Close()
	if h, err := rt.Health(ctx); err == nil && !h.NetworkReady {
		out = append(out, failure(cniRemedy+"; restart the runtime if it does not notice", "the runtime's network is not ready: %s", h.NetworkMessage))
	}
	return out
}

// cniConfig looks at the configuration that the runtime uses, the first by name, and for the
// plugins that it names.
func (e *env) cniConfig() Result {
	const dir = "/etc/cni/net.d"
	entries, err := os.ReadDir(e.path(dir))
	var names []string
	for _, d := range entries {
		if slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(d.Name())) {
			names = append(names, d.Name())
		}
	}
	if err != nil || len(names) == 0 {
		return failure(cniRemedy, "there is no network configuration in %s: only pods in the host's network start", dir)
	}
	slices.Sort(names)
	name := filepath.Join(dir, names[0])
	var network struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		Plugins []struct {
			Type string `json:"type"`
			IPAM struct {
				Type string `json:"type"`
			} `json:"ipam"`
		} `json:"plugins"`
	}
	text := e.read(name)
	if len(text) > mebi || json.Unmarshal([]byte(text), &network) != nil {
		return failure("correct it, or remove it", "%s is not JSON", name)
	}
	wanted := map[string]bool{network.Type: true}
	for _, p := range network.Plugins {
		wanted[p.Type], wanted[p.IPAM.Type] = true, true
	}
	delete(wanted, "")
	var missing []string
	for plugin := range wanted {
		found := slices.ContainsFunc(binDirs(), func(dir string) bool {
			return filepath.Base(plugin) == plugin && e.exists(filepath.Join(dir, plugin))
		})
		if !found {
			missing = append(missing, plugin)
		}
	}
	slices.Sort(missing)
	switch {
	case len(wanted) == 0:
		return failure("correct it, or remove it", "%s names no plugin", name)
	case len(missing) > 0:
		return failure(cniRemedy, "%s names plugins that are not in %s: %s", name, strings.Join(binDirs(), ", "), strings.Join(missing, ", "))
	}
	return good("network %s of %s", network.Name, name)
}
