package device

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Proposal is a device that a mapper has found and nobody has declared. It becomes a device
// when it is adopted: by a rule (inprocess.Config.Adopt), or by "edgectl device adopt", which
// reads the JSON of a Proposal. A device that is not found any more is not removed.
type Proposal struct {
	// Name is what the device may be called: a DNS label, the same each time that it is found,
	// for example of its serial number.
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"` // for people: vendor, product
	Model       string            `json:"model,omitempty"`       // the DeviceModel that fits; empty if that is not known
	Protocol    schema.Protocol   `json:"protocol"`              // how it is reached; without the name: that of the mapper
	Properties  []schema.Property `json:"properties,omitempty"`  // what it has; none means those of the model
	Labels      map[string]string `json:"labels,omitempty"`      // for rules: vendor, serial number, whatever the protocol tells
	LastFound   time.Time         `json:"lastFound"`             // set by the mapper
}

// Spec is the spec of a Device for the proposal. One without properties gets all of the model.
func (p Proposal) Spec(model schema.DeviceModelSpec) schema.DeviceSpec {
	spec := schema.DeviceSpec{ModelRef: schema.ModelRef{Name: p.Model}, Protocol: p.Protocol, Properties: slices.Clone(p.Properties)}
	if len(spec.Properties) == 0 {
		for i := range model.Properties {
			spec.Properties = append(spec.Properties, schema.Property{Name: model.Properties[i].Name, ReportToCloud: true})
		}
	}
	return spec
}

// ProposalLink is a Link that passes on proposals.
type ProposalLink interface {
	Link
	// Propose hands over all proposals of a protocol, by name: those found before as well. The
	// error is as that of Report.
	Propose(ctx context.Context, protocol string, proposals []Proposal) error
}

// The bounds of what one mapper proposes.
const (
	MaxProposals    = 1000    // the most devices; those found last are dropped
	maxProposalSize = 8 << 10 // the longest proposal in bytes of JSON
)

// ErrNoDiscovery says that the driver of a mapper is no Discoverer.
var ErrNoDiscovery = errors.New("device: the driver cannot search for devices")

// Discover searches for devices once, proposes them over the Link if it is a ProposalLink, and
// returns all proposals. Config.DiscoverCycle has Run do this by itself. A device whose
// protocol configuration a declared device has is not proposed.
func (m *Mapper) Discover(ctx context.Context) ([]Proposal, error) {
	m.discovering.Lock() // one search at a time
	defer m.discovering.Unlock()
	err := m.search(ctx)
	if errors.Is(err, ErrNoDiscovery) {
		return nil, err
	}
	list := m.Proposals()
	m.counts.proposals.Store(int64(len(list)))
	if link, ok := m.cfg.Link.(ProposalLink); ok {
		err = errors.Join(err, link.Propose(ctx, m.cfg.Protocol, list))
	}
	return list, err
}

// search has a new driver search. A panic is an error.
func (m *Mapper) search(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			m.counts.panics.Add(1)
			err = &panicError{value: p}
		}
	}()
	driver, ok := m.cfg.New().(Discoverer)
	if !ok {
		return ErrNoDiscovery
	}
	var mu sync.Mutex
	var bad error
	err = driver.Discover(ctx, func(p Proposal) {
		if err := m.propose(p); err != nil {
			mu.Lock()
			defer mu.Unlock()
			bad = cmp.Or(bad, err)
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		err = fmt.Errorf("discover: %w", err)
	}
	return errors.Join(err, bad)
}

// propose keeps what was found.
func (m *Mapper) propose(p Proposal) error {
	if !isLabel(p.Name) {
		return fmt.Errorf("discover: name %.80q must be a DNS label: up to 63 of a-z, 0-9 and -, not first or last", p.Name)
	}
	p.LastFound = time.Now().UTC().Truncate(time.Second)
	p.Protocol.Name = m.cfg.Protocol
	if raw, err := json.Marshal(p); err != nil || len(raw) > maxProposalSize {
		return fmt.Errorf("discover: %s: the proposal must be JSON of at most %d bytes", p.Name, maxProposalSize)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.proposals[p.Name]; !ok && len(m.proposals) >= MaxProposals {
		return fmt.Errorf("discover: more than %d devices were found: the rest is not proposed", MaxProposals)
	}
	m.proposals[p.Name] = p
	return nil
}

// Proposals returns the devices that were found and are not declared, by name.
func (m *Mapper) Proposals() []Proposal {
	m.mu.Lock()
	defer m.mu.Unlock()
	var known []any
	for _, w := range m.workers {
		known = append(known, object(w.dev.Spec.Protocol.Config))
	}
	maps.DeleteFunc(m.proposals, func(_ string, p Proposal) bool {
		config := object(p.Protocol.Config)
		return slices.ContainsFunc(known, func(k any) bool { return reflect.DeepEqual(k, config) })
	})
	return slices.SortedFunc(maps.Values(m.proposals), func(a, b Proposal) int { return cmp.Compare(a.Name, b.Name) })
}

// object decodes options to compare them.
func object(o schema.Options) map[string]any {
	fields := make(map[string]any)
	_ = o.Decode(&fields) // what cannot be read equals nothing but itself
	return fields
}

func isLabel(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// discover searches every Config.DiscoverCycle until ctx ends, from when the declared devices are
// known. After a failure it searches again sooner.
func (m *Mapper) discover(ctx context.Context) {
	select {
	case <-m.ready:
	case <-ctx.Done():
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		search, cancel := context.WithTimeout(ctx, m.cfg.DiscoverCycle)
		list, err := m.Discover(search)
		cancel()
		if errors.Is(err, ErrNoDiscovery) {
			m.cfg.Logger.Warn("Config.DiscoverCycle is set, and the driver cannot search for devices")
			return
		}
		pause := m.cfg.DiscoverCycle
		if err != nil && ctx.Err() == nil {
			pause = min(pause, 64*m.cfg.Backoff)
			m.cfg.Logger.Warn("search for devices has failed", "err", err)
		} else {
			m.cfg.Logger.Info("search for devices has ended", "proposed", len(list))
		}
		timer.Reset(pause)
	}
}
