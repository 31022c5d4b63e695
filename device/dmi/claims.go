package dmi

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	claimEvery   = 10 * time.Second // between two claims of a protocol
	claimTimeout = 2 * time.Second  // of one
	claimRetry   = time.Second      // after one that failed, or while another mapper drives the devices
	// restartPause is how long after a start of edgecore the mappers that had no devices before
	// wait: others, which had them, repeat their claims in that time. It is also how long mappers
	// wait while claims fail.
	restartPause = 15 * time.Second
	// maxClaimName is how many bytes the name of a mapper may have in a claim.
	maxClaimName = 128
)

// Claims decides who drives the devices of a protocol when mappers that do not speak DMI serve it
// too. A twin/mqtt.Bridge is one.
type Claims interface {
	// Claim claims the devices of a protocol for all mappers over DMI together; mapper is a name for
	// others to see. It returns the name of the mapper that drives the devices, or nothing if those
	// over DMI do. An error of type *twin.Error says that there are no claims for the protocol. A
	// claim that is not repeated for 45 s ends.
	Claim(ctx context.Context, protocol, mapper string) (holder string, err error)
	// Release ends the claim of a protocol.
	Release(ctx context.Context, protocol string) error
}

// claim is who drives the devices of a protocol. The zero claim is undecided: mappers keep what
// they have, and get nothing new.
type claim struct {
	decided bool
	holder  string // the mapper that drives them over MQTT; empty if those over DMI do
}

// claimLocked returns the claim of a protocol.
func (m *Manager) claimLocked(protocol string) claim {
	if m.cfg.Claims == nil {
		return claim{decided: true}
	}
	return m.claims[protocol]
}

// runClaims claims the protocols of all mappers until ctx ends.
func (m *Manager) runClaims(ctx context.Context) error {
	if m.cfg.Claims == nil || m.waitLoaded(ctx) != nil {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.claimWake:
		case <-timer.C:
		}
		timer.Reset(m.claimAll(ctx))
	}
}

// claimAll claims what is to be claimed, releases the rest, and returns the pause until the next
// time.
func (m *Manager) claimAll(ctx context.Context) (pause time.Duration) {
	m.mu.Lock()
	served := make(map[string]string) // a mapper by protocol
	for name, p := range m.mappers {
		protocol := p.info.Protocol
		drives := m.claims[protocol] == claim{decided: true} || len(p.given) > 0
		if !p.connected && (p.away || p.inherited && !drives) {
			continue // it may never come back
		}
		if other, ok := served[protocol]; !ok || name < other {
			served[protocol] = name
		}
	}
	var unserved []string
	for protocol := range m.claims {
		if _, ok := served[protocol]; !ok {
			unserved = append(unserved, protocol)
		}
	}
	m.mu.Unlock()
	for _, protocol := range unserved {
		m.release(ctx, protocol)
	}
	pause = claimEvery
	for protocol, name := range served {
		if wait := m.claimPause(protocol); wait > 0 {
			pause = min(pause, wait)
		} else if !m.claim(ctx, protocol, name) || m.waits(protocol) {
			pause = min(pause, claimRetry)
		}
	}
	return pause
}

// waits reports whether another mapper drives the devices of a protocol.
func (m *Manager) waits(protocol string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.claims[protocol].holder != ""
}

// claimPause is how long the protocol must not be claimed yet.
func (m *Manager) claimPause(protocol string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.mappers {
		if p.info.Protocol == protocol && len(p.given) > 0 {
			return 0 // its devices are driven over DMI
		}
	}
	return time.Until(m.claimFrom[protocol])
}

// claim claims a protocol, and reports whether it is decided who drives its devices.
func (m *Manager) claim(ctx context.Context, protocol, mapper string) bool {
	m.claiming.Lock() // an answer that is overtaken must not count
	defer m.claiming.Unlock()
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	name := "DMI/" + mapper
	name = strings.ToValidUTF8(name[:min(len(name), maxClaimName)], "")
	holder, err := m.cfg.Claims.Claim(ctx, protocol, name)
	if err == nil || isRefused(err) {
		m.setClaim(protocol, claim{decided: true, holder: holder})
		return true
	}
	m.mu.Lock()
	since, failed := m.claimFailed[protocol]
	if !failed {
		since = time.Now()
		m.claimFailed[protocol] = since
	}
	decided := m.claims[protocol].decided
	m.mu.Unlock()
	if !decided && time.Since(since) >= restartPause {
		m.log.Warn("devices cannot be claimed: mappers over DMI drive them", "protocol", protocol, "err", err)
		m.setClaim(protocol, claim{decided: true})
	}
	return false
}

// release ends the claim of a protocol that no mapper serves.
func (m *Manager) release(ctx context.Context, protocol string) {
	m.claiming.Lock()
	defer m.claiming.Unlock()
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	if err := m.cfg.Claims.Release(ctx, protocol); err != nil {
		m.log.Debug("the claim of a protocol is not released: it runs out", "protocol", protocol, "err", err)
	}
	m.setClaim(protocol, claim{})
}

// setClaim notes who drives the devices of a protocol, and brings the mappers in line.
func (m *Manager) setClaim(protocol string, c claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.claimFailed, protocol)
	before := m.claims[protocol]
	if c == before {
		return
	}
	if m.claims[protocol] = c; !c.decided {
		delete(m.claims, protocol)
	}
	switch {
	case c.holder != "":
		m.log.Warn("another mapper drives the devices of the protocol over MQTT: those over DMI wait", "protocol", protocol, "holder", c.holder)
	case before.holder != "" && c.decided:
		m.log.Info("mappers over DMI drive the devices of the protocol now", "protocol", protocol)
	}
	m.protocolLocked(protocol)
	m.settleLocked()
	for _, p := range m.mappers {
		if p.info.Protocol == protocol {
			notify(p.wake)
		}
	}
}

// decide claims the protocol of a mapper that registers, unless it must wait.
func (m *Manager) decide(ctx context.Context, i info) {
	if m.cfg.Claims == nil {
		return
	}
	if m.claimPause(i.Protocol) <= 0 {
		m.claim(ctx, i.Protocol, i.Name)
	}
	notify(m.claimWake)
}

// checkDrivesLocked refuses a report of a device that another mapper drives.
func (m *Manager) checkDrivesLocked(id string) error {
	protocol := m.protocols[id]
	holder := m.claimLocked(protocol).holder
	if protocol == "" || holder == "" {
		return nil
	}
	m.refused.Add(1)
	return status.Errorf(codes.FailedPrecondition, "mapper %q drives the devices of protocol %q on this node over MQTT: end one of the two", holder, protocol)
}
