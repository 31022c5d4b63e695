package podspec

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxHostname is the limit of Linux, in characters.
const maxHostname = 63

// hostname is the name that a pod's processes see, and the pod's DNS domain if it
// has one. A name that is too long is cut, as the kubelet does, and must not end
// in a dash or a dot. hostnameOverride is KEP-4762.
func hostname(pod *corev1.Pod, clusterDomain string) (name, domain string) {
	if o := pod.Spec.HostnameOverride; o != nil {
		return *o, ""
	}
	name = pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	if pod.Spec.Subdomain != "" {
		domain = pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + clusterDomain
	}
	return name, domain
}

// hostsFile is the content of a pod's /etc/hosts. Tests of Kubernetes know its
// first line as the sign of a managed file. own is the host's file, for pods in
// the host's network.
func hostsFile(pod *corev1.Pod, ips []string, name, domain string, own []byte) []byte {
	var b bytes.Buffer
	if pod.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(own)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
		b.WriteString("fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		for _, ip := range ips {
			if domain != "" {
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, name, domain, name)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, name)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.Bytes()
}

// writeHosts writes a pod's hosts file, which is bound into its containers, and
// returns its path.
func (b *Builder) writeHosts(pod *corev1.Pod, ips []string) (string, error) {
	var own []byte
	if pod.Spec.HostNetwork {
		var err error
		if own, err = os.ReadFile("/etc/hosts"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	name, domain := hostname(pod, b.cfg.ClusterDomain)
	path := filepath.Join(b.cfg.Volumes.PodDir(string(pod.UID)), "etc-hosts")
	if err := os.WriteFile(path, hostsFile(pod, ips, name, domain, own), 0o644); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o644) // also against the umask
}
