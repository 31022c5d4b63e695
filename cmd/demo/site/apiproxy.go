package site

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"

	"k8s.io/client-go/tools/clientcmd"
)

// APIProxy passes connections from the edge machine's network on to the API
// server, which listens on the host's loopback: a peer that wants to talk to it
// without cloudcore needs that.
type APIProxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// ProxyAPI starts a proxy at the host's end of the cable.
func (s *Site) ProxyAPI() (*APIProxy, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(s.Network().Host().String(), "0"))
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	p := &APIProxy{listener: l, target: server.Host}
	p.running.Go(p.accept)
	return p, nil
}

// Close ends the proxy and its connections.
func (p *APIProxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
	return err
}

func (p *APIProxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			p.running.Go(func() {
				_, _ = io.Copy(way[0], way[1]) // either end says the same to both
				in.Close()
				out.Close()
			})
		}
	}
}

// kubeconfig writes the cluster's kubeconfig as it is for the proxy's clients.
func (p *APIProxy) kubeconfig(from, to string) error {
	config, err := clientcmd.LoadFromFile(from)
	if err != nil {
		return fmt.Errorf("site: %w", err)
	}
	host, _, err := net.SplitHostPort(p.target)
	if err != nil {
		return fmt.Errorf("site: %w", err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.TLSServerName = "https://"+p.listener.Addr().String(), host
	}
	if err := clientcmd.WriteToFile(*config, to); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}
