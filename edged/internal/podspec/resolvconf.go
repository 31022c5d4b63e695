package podspec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// The limits of a pod's resolver configuration, as the API server checks them
// in a dnsConfig and glibc and musl have them.
const (
	maxServers    = 3
	maxSearches   = 32
	maxSearchList = 2048 // characters of all search domains with the blanks between them
	maxSearch     = 253  // characters of one search domain
)

// maxResolvConf is the size in bytes of the largest resolver file that is read.
const maxResolvConf = 1 << 20

// The resolver files of a host. A stub resolver on the host's loopback
// (systemd-resolved, 127.0.0.53) cannot be reached from inside a pod; it keeps a
// file with the servers that it asks itself, see systemd-resolved.service(8).
const (
	resolvConf        = "/etc/resolv.conf"
	resolvConfSystemd = "/run/systemd/resolve/resolv.conf"
)

// Notice is what a resolver configuration lacks, as an event.
type Notice struct {
	Type    string // of the event
	Reason  string
	Message string
	OfNode  bool // the same for all pods of the node
}

// missingClusterDNS is Normal here, where a kubelet warns on each pod: an edge
// node may well have no DNS server of the cluster.
var missingClusterDNS = Notice{
	corev1.EventTypeNormal, "MissingClusterDNS",
	"the node has no cluster DNS: pods with the policy ClusterFirst use the host's name servers and cannot look up Services; set edgecore --cluster-dns (SDK: Config.ClusterDNS) if the cluster's DNS is reachable from here", true,
}

// resolver reads the host's resolver files.
type resolver struct {
	root string // of the host's files; tests set it

	mu   sync.Mutex
	said map[string]bool // reasons of complaints that were made
}

// first reports whether a notice about the node is made for the first time.
func (r *resolver) first(reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said[reason] {
		return false
	}
	if r.said == nil {
		r.said = make(map[string]bool)
	}
	r.said[reason] = true
	return true
}

// read gives the host's resolver configuration for a pod. A file that is
// configured is taken as it is. Without one, a pod in the host's network gets the
// host's own file. Others get the first of the host's files with a name server
// that can be reached from inside a pod.
func (r *resolver) read(set string, hostNetwork bool) (runtime.DNSConfig, []Notice, error) {
	if set != "" {
		if _, err := os.Stat(set); err != nil {
			return runtime.DNSConfig{}, nil, fmt.Errorf("the resolver file that edgecore --resolv-conf (SDK: Config.ResolvConf) names cannot be read: %w", err)
		}
		d, err := r.file(set)
		return d, nil, err
	}
	own, err := r.file(r.root + resolvConf)
	if err != nil || hostNetwork || reachable(own) {
		return own, nil, err
	}
	behind, err := r.file(r.root + resolvConfSystemd)
	if err == nil && reachable(behind) {
		return behind, nil, nil
	}
	return own, []Notice{{
		corev1.EventTypeWarning, "NoUsableNameServer",
		fmt.Sprintf("no name server in %s (%s) can be reached from inside a pod: give a file that has one with edgecore --resolv-conf (SDK: Config.ResolvConf), or the cluster's servers with --cluster-dns",
			resolvConf, strings.Join(own.Servers, " ")), true,
	}}, nil
}

// file reads a resolver file. One that does not exist is empty.
func (r *resolver) file(path string) (runtime.DNSConfig, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return runtime.DNSConfig{}, nil
	}
	if err != nil {
		return runtime.DNSConfig{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return runtime.DNSConfig{}, err
	}
	return parseResolvConf(text), nil
}

// reachable reports whether a name server can be reached from inside a pod, which
// has a loopback interface and links of its own.
func reachable(d runtime.DNSConfig) bool {
	return slices.ContainsFunc(d.Servers, func(s string) bool {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return false
		}
		ip = ip.Unmap()
		// Clouds have name servers at 169.254.0.0/16, to which the host routes.
		return !ip.IsLoopback() && !ip.IsUnspecified() && !(ip.Is6() && ip.IsLinkLocalUnicast())
	})
}

// fitResolver cuts a resolver configuration to what resolvers accept.
func fitResolver(d *runtime.DNSConfig) []Notice {
	var complaints []Notice
	if len(d.Servers) > maxServers {
		d.Servers = d.Servers[:maxServers]
		complaints = append(complaints, Notice{
			corev1.EventTypeWarning, "DNSConfigForming",
			fmt.Sprintf("the pod has more name servers than a resolver takes (%d); it uses these: %s", maxServers, strings.Join(d.Servers, " ")), false,
		})
	}
	var fit []string
	length := -1 // the first has no blank before it
	for _, s := range d.Searches {
		if len(s) > maxSearch {
			continue // aborts the lookups of some resolvers
		}
		if len(fit) == maxSearches || length+1+len(s) > maxSearchList {
			break
		}
		fit = append(fit, s)
		length += 1 + len(s)
	}
	if len(fit) < len(d.Searches) {
		complaints = append(complaints, Notice{
			corev1.EventTypeWarning, "DNSConfigForming",
			fmt.Sprintf("the pod has more DNS search domains than a resolver takes (%d, of %d characters each and %d together); it uses these: %s", maxSearches, maxSearch, maxSearchList, strings.Join(fit, " ")), false,
		})
		d.Searches = fit
	}
	return complaints
}

// unique leaves out repetitions; the first of each stays.
func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// parseResolvConf reads a resolver file, see resolv.conf(5). Options that it does
// not know are left out.
func parseResolvConf(text []byte) runtime.DNSConfig {
	var d runtime.DNSConfig
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
		// resolv.conf(5): the last search line counts.
		case "search":
			d.Searches = nil
			for _, s := range fields[1:] {
				// The root domain is no search domain: systemd-resolved writes it
				// for "none", and musl cannot look up anything with it.
				if s = strings.TrimSuffix(s, "."); s != "" {
					d.Searches = append(d.Searches, s)
				}
			}
		case "options":
			d.Options = append(d.Options, fields[1:]...)
		}
	}
	return d
}
