package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
)

// kubeletFlags are the settings of the nodes' kubelet endpoints.
type kubeletFlags struct {
	Address     netip.Addr `help:"Address by which the API server reaches this cloudcore. Edge Nodes list it; see --kubelet-address-type. Default: the local address of connections to the API server." placeholder:"IP"`
	AddressType string     `help:"Type of the address under which edge Nodes list this cloudcore. API servers dial the first of their --kubelet-preferred-address-types that a Node has; CNIs, kube-proxy and Prometheus take the first InternalIP for the node's own. InternalIP: works with every API server, and is the node's first InternalIP. InternalDNS, ExternalDNS, ExternalIP, Hostname: the node keeps its own InternalIP; API servers must prefer that type (those without the setting prefer Hostname and InternalDNS; give kubeadm's InternalDNS,InternalIP,ExternalIP,Hostname). none: no address, only the port. auto: read the settings of API servers that run as pods in kube-system, else InternalIP." default:"auto" enum:"auto,InternalIP,InternalDNS,ExternalDNS,ExternalIP,Hostname,none"`
	Bind        string     `help:"Address to listen on for the nodes' kubelet endpoints. Default: --kubelet-address. 0.0.0.0 or :: listens on all addresses, for example behind address translation." placeholder:"IP"`
	Ports       string     `help:"Ports for the nodes' kubelet endpoints, one for each node. Must not overlap the NodePorts of Services (30000-32767)." default:"20000-29999" placeholder:"FIRST-LAST"`
	ClientCA    string     `help:"Certificate authorities of the clients of kubelets. Default: the cluster's, from the config map extension-apiserver-authentication in kube-system." placeholder:"FILE" name:"client-ca"`
	Cert        string     `help:"Certificate of the endpoints, for API servers that trust another authority of kubelets. Default: one of edgekit's own authority, for --kubelet-address: give API servers what 'edgectl ca show' prints as --kubelet-certificate-authority." placeholder:"FILE"`
	Key         string     `help:"Key of the certificate." placeholder:"FILE"`
	Sessions    int        `help:"How many logs, execs, attaches and port forwards may be open at once." default:"10000"`
	Hostname    bool       `help:"Show the nodes' host names as addresses. Use this only if the API server prefers InternalIP (--kubelet-preferred-address-types, as kubeadm and k3s set it). Otherwise the API server dials the name, and kubectl logs fails."`
	Off         bool       `help:"Serve no kubelet endpoints."`
}

// kubeletParts are what the kubelet endpoints need besides their flags.
type kubeletParts struct {
	apiServer string // its URL
	advertise []string
	// addressType finds the type of address for --kubelet-address-type=auto.
	addressType func() corev1.NodeAddressType
	// issue returns a function that issues a certificate of edgekit's authority for the
	// hosts. It is called when the first client connects.
	issue   func(hosts ...string) (func() (*tls.Certificate, error), error)
	metrics prometheus.Registerer
	log     *slog.Logger
}

// config sets up the kubelet endpoints; nil if they are turned off.
func (f *kubeletFlags) config(p kubeletParts) (*kubeletproxy.Config, error) {
	if f.Off {
		return nil, nil
	}
	first, last, err := portRange(f.Ports)
	if err != nil {
		return nil, &program.UsageError{Setting: "kubelet-ports", Reason: err.Error()}
	}
	address := f.Address
	if !address.IsValid() {
		if address, err = reachable(p.apiServer, p.advertise); err != nil {
			return nil, &program.UsageError{Setting: "kubelet-address", Reason: err.Error()}
		}
	}
	kind := corev1.NodeAddressType(f.AddressType)
	if kind == "auto" {
		kind = p.addressType()
	}
	bind := cmp.Or(f.Bind, address.String())
	if err := bindable(bind); err != nil {
		return nil, &program.UsageError{Setting: "kubelet-bind", Reason: err.Error()}
	}
	out := &kubeletproxy.Config{
		Address: address, AddressType: kind, Bind: bind, FirstPort: first, Ports: last - first + 1, Hostname: f.Hostname,
		MaxSessions: f.Sessions, Metrics: p.metrics, Logger: p.log.With("component", "kubelet"),
		Certificate: issued(p.issue, address.String()),
	}
	if f.ClientCA != "" {
		if _, err := os.Stat(f.ClientCA); err != nil {
			return nil, &program.UsageError{Setting: "kubelet-client-ca", Reason: err.Error()}
		}
		out.ClientCA = func(context.Context) ([]byte, error) { return os.ReadFile(f.ClientCA) }
	}
	if f.Cert != "" || f.Key != "" {
		load := func() (*tls.Certificate, error) { // read again each time, because it may be rotated
			pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, &program.UsageError{Setting: "kubelet-cert", Reason: err.Error()}
		}
		out.Certificate = load
	}
	return out, nil
}

// issued returns the certificate of edgekit's authority for the endpoints' address.
func issued(issue func(...string) (func() (*tls.Certificate, error), error), host string) func() (*tls.Certificate, error) {
	made := sync.OnceValues(func() (func() (*tls.Certificate, error), error) { return issue(host) })
	return func() (*tls.Certificate, error) {
		current, err := made()
		if err != nil {
			return nil, err
		}
		return current()
	}
}

// bindable returns an error if this machine cannot listen on the address.
func bindable(address string) error {
	if _, err := netip.ParseAddr(address); err != nil {
		return fmt.Errorf("%q is not an IP address", address)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return fmt.Errorf("%w: give an address of this machine, or 0.0.0.0 if the API server reaches this machine by address translation", err)
	}
	return l.Close()
}

func portRange(text string) (first, last int, err error) {
	a, b, ok := strings.Cut(text, "-")
	first, err1 := strconv.Atoi(a)
	last, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || first < 1 || last < first || last > 65535 {
		return 0, 0, fmt.Errorf("%q: want FIRST-LAST within 1-65535", text)
	}
	return first, last, nil
}

// reachable finds the address by which the API server reaches this machine: the local
// address of a connection to the API server. An API server on this machine's loopback
// reaches all our addresses but refuses to proxy to loopback addresses, so reachable then
// returns our first other address, and prefers one that edges use.
func reachable(apiServer string, advertise []string) (netip.Addr, error) {
	u, err := url.Parse(apiServer)
	if err != nil || u.Hostname() == "" {
		return netip.Addr{}, fmt.Errorf("the address by which the API server %q reaches cloudcore is unknown: give one", apiServer)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), port)) // sends nothing
	if err != nil {
		return netip.Addr{}, fmt.Errorf("the address by which the API server reaches cloudcore is unknown: %w: give one", err)
	}
	defer conn.Close()
	if own := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); !own.IsLoopback() {
		return own.WithZone(""), nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list this machine's addresses: %w: give one", err)
	}
	var ours []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			ours = append(ours, p.Addr())
		}
	}
	for _, a := range advertise {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			host = a
		}
		for _, own := range ours {
			if own.String() == host {
				return own, nil
			}
		}
	}
	if len(ours) == 0 {
		return netip.Addr{}, fmt.Errorf("this machine has no address but loopback, to which the API server does not proxy: give one")
	}
	return ours[0], nil
}
