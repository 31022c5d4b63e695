package podspec

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// DNS is the resolver configuration of a pod on this node, with what of it is
// worth an event.
func (b *Builder) DNS(pod *corev1.Pod) (*runtime.DNSConfig, []Notice, error) {
	host, complaints, err := b.resolver.read(b.cfg.ResolvConf, pod.Spec.HostNetwork)
	if err != nil {
		return nil, nil, err
	}
	d, more, fromHost := dnsConfig(pod, host, b.cfg.ClusterDNS, b.cfg.ClusterDomain)
	if !fromHost {
		complaints = nil
	}
	return d, append(complaints, more...), nil
}

// FirstNotice reports whether a notice about the node itself, with this reason, is
// made for the first time.
func (b *Builder) FirstNotice(reason string) bool { return b.resolver.first(reason) }

// dnsConfig is the resolver configuration of a pod by its DNS policy:
// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-dns-policy.
// host is what the host's own file says; servers are the cluster's. It also
// returns what is worth an event, and whether the host's servers are used.
func dnsConfig(pod *corev1.Pod, host runtime.DNSConfig, servers []netip.Addr, domain string) (*runtime.DNSConfig, []Notice, bool) {
	policy := pod.Spec.DNSPolicy
	// In the host's network ClusterFirst falls back to Default; a pod that wants the
	// cluster's DNS there says ClusterFirstWithHostNet.
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	if policy == corev1.DNSClusterFirstWithHostNet || policy == "" {
		policy = corev1.DNSClusterFirst
	}
	var complaints []Notice
	var d runtime.DNSConfig
	fromHost := false
	switch {
	case policy == corev1.DNSNone:
	// ndots:5 is what makes short names of Services work: a name with fewer dots is
	// looked up in the search domains first.
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
	// dnsConfig is merged into what the policy gives; its options replace those of the
	// same name.
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
