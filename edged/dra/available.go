package dra

import (
	"context"
	"maps"
	"net"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// driverGrace is how long a driver that cannot be reached still counts: the kubelet's
	// defaultWipingDelay (cm/dra/manager.go).
	driverGrace = 30 * time.Second
	// checkInterval is how often Run checks whether drivers can be reached.
	checkInterval = 10 * time.Second
	// dialTimeout bounds such a check of one driver.
	dialTimeout = time.Second
)

// Run reports which drivers the node has, and follows the health of their devices, until ctx
// ends, and then returns nil. The first report comes after 30 seconds, which drivers have to
// register. A second call returns edged.ErrStarted.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.guard.Start(); err != nil {
		return err
	}
	var g errgroup.Group
	defer func() { _ = g.Wait() }() // what follows health has no error, and ends with ctx
	began, seen := time.Now(), make(map[string]time.Time)
	var reported []string
	first := true
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		m.watchHealth(ctx, &g)
		now := m.see(ctx, seen)
		m.endKeptHealth(now)
		names := slices.Sorted(maps.Keys(seen))
		if ctx.Err() == nil && now.Sub(began) >= driverGrace && (first || !slices.Equal(names, reported)) {
			if err := m.cfg.DriversChanged(ctx, names); err == nil {
				reported, first = names, false
			} else if ctx.Err() == nil {
				m.cfg.Logger.Warn("cannot report the DRA drivers of this node", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-m.wake:
		}
	}
}

// see notes the drivers that can be reached now, and forgets those that could not be for
// too long. It returns what it takes for now.
func (m *Manager) see(ctx context.Context, seen map[string]time.Time) time.Time {
	for name, endpoints := range m.endpoints() {
		if slices.ContainsFunc(endpoints, func(socket string) bool { return reachable(ctx, socket) }) {
			seen[name] = time.Now()
		}
	}
	now := time.Now()
	maps.DeleteFunc(seen, func(_ string, at time.Time) bool { return now.Sub(at) >= driverGrace })
	return now
}

func (m *Manager) endpoints() map[string][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string][]string, len(m.drivers))
	for name, plugins := range m.drivers {
		for _, d := range plugins {
			out[name] = append(out[name], d.plugin.Endpoint)
		}
	}
	return out
}

// reachable reports whether somebody listens on a socket.
func reachable(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}
