package dmi

import (
	"context"
	"strings"
	"time"

	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
)

// settleLocked decides for each pending device which mapper has it, and has that mapper, and
// the one before, brought in line.
func (m *Manager) settleLocked() {
	select {
	case <-m.loaded:
	default:
		return
	}
	for id := range m.pending {
		delete(m.pending, id)
		d, ok := m.cfg.Engine.Device(id)
		protocol := ""
		if ok {
			protocol = protocolOf(d)
		}
		if protocol == "" {
			delete(m.protocols, id)
		} else {
			m.protocols[id] = protocol
		}
		m.assignLocked(id, protocol)
	}
}

// protocolOf returns the protocol of a device; empty if it has none.
func protocolOf(d twin.Device) string {
	var spec struct {
		Protocol struct {
			Name string `json:"protocolName"`
		} `json:"protocol"`
	}
	if jsonlimit.Unmarshal(d.Member.Spec, &spec) != nil {
		return ""
	}
	return spec.Protocol.Name
}

// assignLocked gives a device to the mapper that it has, or else to the best one.
func (m *Manager) assignLocked(id, protocol string) {
	old := m.owners[id]
	next := m.chooseLocked(old, protocol)
	if next != old {
		if old != nil {
			old.devices--
			old.changedLocked(id)
		}
		delete(m.owners, id)
		if next != nil {
			next.devices++
			m.owners[id] = next
		}
	}
	if next != nil {
		next.changedLocked(id)
	}
}

// chooseLocked returns the mapper for a device of a protocol: the one that has it unless that
// is away for too long and another is there, else the one with the fewest devices.
func (m *Manager) chooseLocked(old *mapper, protocol string) *mapper {
	if protocol == "" || m.claimLocked(protocol).holder != "" {
		return nil
	}
	var best *mapper
	for _, p := range m.mappers {
		switch {
		case p.info.Protocol != protocol:
		case best == nil, best.away && !p.away:
			best = p
		case p.away && !best.away:
		case p.devices < best.devices || p.devices == best.devices && p.info.Name < best.info.Name:
			best = p
		}
	}
	if old != nil && m.mappers[old.info.Name] == old && old.info.Protocol == protocol && (!old.away || best.away) {
		return old
	}
	return best
}

// protocolLocked has all devices of a protocol looked at again.
func (m *Manager) protocolLocked(protocol string) {
	for id, p := range m.protocols {
		if p == protocol {
			m.pending[id] = struct{}{}
		}
	}
	notify(m.wake)
}

// checkAway looks for mappers that are away for Grace. Their devices go to another mapper of
// the protocol. Where there is none, those that are online become unknown.
func (m *Manager) checkAway(ctx context.Context) {
	m.mu.Lock()
	var silent []string
	for _, p := range m.mappers {
		if p.connected || p.away || time.Since(p.since) < m.cfg.Grace {
			continue
		}
		p.away = true
		m.log.Warn("mapper is away; its devices go to another mapper of the protocol, or become unknown", "mapper", p.info.Name, "protocol", p.info.Protocol, "devices", p.devices)
		m.protocolLocked(p.info.Protocol)
		m.settleLocked()
		notify(m.claimWake)
		for id, owner := range m.owners {
			if owner == p {
				silent = append(silent, id)
			}
		}
	}
	m.mu.Unlock()
	for _, id := range silent {
		d, ok := m.cfg.Engine.Device(id)
		if !ok || !strings.EqualFold(d.State, "online") && !strings.EqualFold(d.State, "ok") {
			continue
		}
		if err := m.cfg.Engine.SetState(ctx, id, "unknown"); err != nil && ctx.Err() == nil {
			m.log.Warn("the device stays online though its mapper is away", "device", id, "err", err)
		}
	}
}
