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

	corev1 "k8s.io/api/core/v1"
)

// The limits of resolvers and of Linux.
const (
	maxServers  = 3
	maxSearches = 32
	maxHostname = 63
)

// complaint is what a pod's resolver configuration lacks, as an event tells it.
type complaint struct{ reason, message string }

// podDNS is dnsConfig with what this node knows.
func (a *Agent) podDNS(pod *corev1.Pod) (*DNSConfig, []complaint, error) {
	resolver, err := os.ReadFile(a.cfg.ResolvConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	d, complaints := dnsConfig(pod, parseResolvConf(resolver), a.cfg.ClusterDNS, a.cfg.ClusterDomain)
	return d, complaints, nil
}

// complainDNS tells what the resolver configuration of a pod lacks.
func (a *Agent) complainDNS(pod *corev1.Pod) {
	_, complaints, err := a.podDNS(pod)
	if err != nil {
		a.log.Debug("cannot read the host's resolver configuration", "pod", podTitle(pod), "err", err)
	}
	for _, c := range complaints {
		a.events.pod(pod, corev1.EventTypeWarning, c.reason, c.message)
	}
}

// dnsConfig is the resolver configuration of a pod, by its DNS policy. host is
// what the host's own file says; servers are the cluster's. It also returns
// what of it is worth an event.
func dnsConfig(pod *corev1.Pod, host DNSConfig, servers []netip.Addr, domain string) (*DNSConfig, []complaint) {
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	if policy == corev1.DNSClusterFirstWithHostNet || policy == "" {
		policy = corev1.DNSClusterFirst
	}
	var complaints []complaint
	var d DNSConfig
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
			complaints = append(complaints, complaint{"MissingClusterDNS", "the node has no ClusterDNS configured and cannot give this pod the \"ClusterFirst\" policy; it uses the host's name servers"})
		}
		d = DNSConfig{slices.Clone(host.Servers), slices.Clone(host.Searches), slices.Clone(host.Options)}
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
	if len(d.Servers) > maxServers {
		complaints = append(complaints, complaint{"DNSConfigForming", "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: " + strings.Join(d.Servers[:maxServers], " ")})
		d.Servers = d.Servers[:maxServers]
	}
	if len(d.Searches) > maxSearches {
		d.Searches = d.Searches[:maxSearches]
	}
	return &d, complaints
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// parseResolvConf reads a resolver file, see resolv.conf(5). What it does not
// know it leaves out.
func parseResolvConf(text []byte) DNSConfig {
	var d DNSConfig
	for line := range bytes.Lines(text) {
		if i := bytes.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		fields := strings.Fields(string(line))
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			d.Servers = append(d.Servers, fields[1])
		case "search":
			d.Searches = nil
			for _, s := range fields[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				d.Searches = append(d.Searches, s)
			}
		case "options":
			d.Options = append(d.Options, fields[1:]...)
		}
	}
	return d
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
