package edged

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/edged/runtime"

	corev1 "k8s.io/api/core/v1"
)

// maxHostname is the limit of Linux, in characters.
const maxHostname = 63

// podDNS is dnsConfig with what this node knows.
func (a *Agent) podDNS(pod *corev1.Pod) (*runtime.DNSConfig, []complaint, error) {
	host, complaints, err := a.resolver.read(a.cfg.ResolvConf, pod.Spec.HostNetwork)
	if err != nil {
		return nil, nil, err
	}
	d, more, fromHost := dnsConfig(pod, host, a.cfg.ClusterDNS, a.cfg.ClusterDomain)
	if !fromHost {
		complaints = nil
	}
	return d, append(complaints, more...), nil
}

// complainDNS reports what the resolver configuration of a pod lacks. What is a
// matter of the node is said once in an agent's life, of the node.
func (a *Agent) complainDNS(pod *corev1.Pod) {
	_, complaints, err := a.podDNS(pod)
	if err != nil {
		a.log.Debug("cannot read the host's resolver configuration", "pod", podTitle(pod), "err", err)
	}
	for _, c := range complaints {
		switch {
		case !c.ofNode:
			a.events.pod(pod, c.kind, c.reason, c.message)
		case a.resolver.first(c.reason):
			log := a.log.Info
			if c.kind == corev1.EventTypeWarning {
				log = a.log.Warn
			}
			log("the node's DNS settings limit its pods", "reason", c.reason, "message", c.message)
			a.events.ofNode(c.kind, c.reason, c.message)
		}
	}
}

// dnsConfig is the resolver configuration of a pod, by its DNS policy. host is
// what the host's own file says; servers are the cluster's. It also returns
// what of it is worth an event, and whether the host's servers are used.
func dnsConfig(pod *corev1.Pod, host runtime.DNSConfig, servers []netip.Addr, domain string) (*runtime.DNSConfig, []complaint, bool) {
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	if policy == corev1.DNSClusterFirstWithHostNet || policy == "" {
		policy = corev1.DNSClusterFirst
	}
	var complaints []complaint
	var d runtime.DNSConfig
	fromHost := false
	switch {
	case policy == corev1.DNSNone:
	case policy == corev1.DNSClusterFirst && len(servers) > 0:
		for _, s := range servers {
			d.Servers = append(d.Servers, s.String())
		}
		d.Searches = append([]string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}, host.Searches...)
		d.Options = []string{"ndots:5"}
	default:
		if policy == corev1.DNSClusterFirst {
			complaints = append(complaints, missingClusterDNS)
		}
		fromHost = true
		d = runtime.DNSConfig{Servers: slices.Clone(host.Servers), Searches: slices.Clone(host.Searches), Options: slices.Clone(host.Options)}
	}
	if own := pod.Spec.DNSConfig; own != nil {
		d.Servers = append(d.Servers, own.Nameservers...)
		d.Searches = append(d.Searches, own.Searches...)
		for _, o := range own.Options {
			text := o.Name
			if o.Value != nil {
				text += ":" + *o.Value
			}
			d.Options = slices.DeleteFunc(d.Options, func(have string) bool {
				name, _, _ := strings.Cut(have, ":")
				return name == o.Name
			})
			d.Options = append(d.Options, text)
		}
	}
	d.Servers, d.Searches = unique(d.Servers), unique(d.Searches)
	complaints = append(complaints, fitResolver(&d)...)
	return &d, complaints, fromHost
}

// hostname is the name that a pod's processes see, and the pod's DNS domain if
// it has one.
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

// hostsFile writes a pod's /etc/hosts. Its first line is known to tests of
// Kubernetes as the sign of a managed file. own is the host's file, for pods
// with the host's network.
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

// writeHosts writes a pod's hosts file, to be bound into its containers, and
// returns its path.
func (a *Agent) writeHosts(pod *corev1.Pod, ips []string) (string, error) {
	var own []byte
	if pod.Spec.HostNetwork {
		var err error
		if own, err = os.ReadFile("/etc/hosts"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	name, domain := hostname(pod, a.cfg.ClusterDomain)
	path := filepath.Join(a.volumes.PodDir(string(pod.UID)), "etc-hosts")
	if err := os.WriteFile(path, hostsFile(pod, ips, name, domain, own), 0o644); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o644) // also against the umask
}
