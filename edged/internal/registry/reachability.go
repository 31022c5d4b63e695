package registry

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Times of looking whether a registry is in reach.
const (
	registryDial = 3 * time.Second // how long it may take to connect
	registryAway = time.Minute     // how long one that did not answer is not asked again
)

// Tracker knows which image registries did not answer lately. After a power cut
// without a network a hundred pods start at once: only the first waits for each
// registry. It may be used by several goroutines.
type Tracker struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu          sync.Mutex
	unreachable map[string]time.Time // until when, by host
}

// New makes a Tracker that connects with dial.
func New(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Tracker {
	return &Tracker{dial: dial, unreachable: make(map[string]time.Time)}
}

// IsUnreachable reports whether the registry did not answer in the last minute.
func (r *Tracker) IsUnreachable(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.unreachable[host]
	if ok && !time.Now().Before(until) {
		delete(r.unreachable, host)
		return false
	}
	return ok
}

// CheckReachable connects to a registry and gives the error if nobody answers. A
// registry that answers is reachable, whoever it lets pull.
func (r *Tracker) CheckReachable(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, registryDial)
	defer cancel()
	var err error
	for _, address := range registryAddresses(host) {
		var conn net.Conn
		if conn, err = r.dial(ctx, "tcp", address); err == nil {
			if err := conn.Close(); err != nil {
				return fmt.Errorf("%s: %w", host, err)
			}
			return nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreachable[host] = time.Now().Add(registryAway)
	return err
}

// registryAddresses lists where a registry may answer: without a port in its name,
// on those of HTTPS and HTTP.
func registryAddresses(host string) []string {
	if host == "docker.io" {
		host = "registry-1.docker.io" // the name in references is not that of the machine
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return []string{host}
	}
	host = strings.Trim(host, "[]")
	return []string{net.JoinHostPort(host, "443"), net.JoinHostPort(host, "80")}
}
