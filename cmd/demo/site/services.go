package site

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/process"
)

// apiPort is where the node's own API is served for its pods.
const apiPort = 6443

// servicesMark lets a node have all Services.
const servicesMark = "edgekit.node-restriction.kubernetes.io/services=all"

// ServiceArgs are further arguments for StartEdge by which Services and DNS work
// on the node: its own API serves pods and gets all Services, and pods ask the
// DNS server that StartServices starts.
func (s *Site) ServiceArgs() []string {
	node := s.Network().Node().String()
	return []string{"--local-api-services", "--local-api-listen", net.JoinHostPort(node, strconv.Itoa(apiPort)), "--cluster-dns", node}
}

// StartServices makes Services work on a node whose edgecore runs with
// ServiceArgs, as an operator would: a stock kube-proxy and CoreDNS, both
// clients of the node's own API; and that API as the endpoint of the Service
// kubernetes, since the node does not reach the API server.
func (s *Site) StartServices(ctx context.Context, node string) error {
	if err := s.BuildExtra(ctx, "kube-proxy", "coredns"); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	// Only a node that an operator marked gets all Services.
	if _, err := s.Kube().Run(ctx, "", "label", "node", node, servicesMark, "--overwrite"); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	if err := s.Kube().Apply(ctx, fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: %d, protocol: TCP}]
endpoints: [{addresses: [%s], conditions: {ready: true}}]
`, apiPort, s.Network().Node())); err != nil {
		return err
	}
	api := filepath.Join(s.DataDir(node), "api", "admin.kubeconfig")
	if _, err := s.Start(process.Spec{Name: "kube-proxy", Path: s.Built("kube-proxy"), NetNS: s.Network().File, Args: []string{
		"--kubeconfig=" + api, "--hostname-override=" + node, "--proxy-mode=iptables",
		"--masquerade-all", // answers come back this way also where the kernel does not filter bridges
		// The host's connection tracking is left as it is.
		"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
	}}); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	corefile := filepath.Join(s.Dir(), "Corefile")
	if err := os.WriteFile(corefile, fmt.Appendf(nil, `.:53 {
	errors
	kubernetes cluster.local in-addr.arpa {
		kubeconfig %s
	}
}
`, api), 0o600); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	if _, err := s.Start(process.Spec{Name: "coredns", Path: s.Built("coredns"), NetNS: s.Network().File, Args: []string{"-conf", corefile}}); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return s.waitServices(ctx)
}

// waitServices waits until the Service kubernetes is found by its name and
// answers.
func (s *Site) waitServices(ctx context.Context) error {
	dns := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return s.Network().DialContext(ctx, network, net.JoinHostPort(s.Network().Node().String(), "53"))
	}}
	var address string
	if err := s.WaitReady(ctx, "coredns", time.Minute, func(ctx context.Context) error {
		all, err := dns.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
		if err == nil {
			address = all[0]
		}
		return err
	}); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	if err := s.WaitReady(ctx, "kube-proxy", time.Minute, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		conn, err := s.Network().DialContext(ctx, "tcp", net.JoinHostPort(address, "443"))
		if err == nil {
			conn.Close()
		}
		return err
	}); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}
