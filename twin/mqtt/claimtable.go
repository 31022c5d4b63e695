package mqtt

import (
	"fmt"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
)

const (
	claimLease = 45 * time.Second // a claim that was not repeated for so long ends
	maxClaims  = 64               // protocols with a claim
	maxWaiting = 16               // mappers that wait for one protocol
	// maxClaimLevel is the longest level of a protocol in bytes. MQTT has topics of 64 KiB, and the
	// table keeps it.
	maxClaimLevel = 512
	// claimMissed is after how long without a claim a mapper that waits is passed over: it has missed
	// two, and may have been killed.
	claimMissed = 25 * time.Second
)

// claimant is one run of a mapper.
type claimant struct {
	instance, name string
	since, until   time.Time
}

// claim is who drives the devices of a protocol.
type claim struct {
	holder  claimant
	waiting []claimant // in the order of arrival
}

// claimTable decides which mapper drives the devices of a protocol: the first to claim them, until
// it releases them or is silent for claimLease. Then it is the one that has waited longest, of those
// that have claimed in the last claimMissed if there are such. A mapper that waits and restarts keeps
// its place. claimTable reads no clock and touches no bus. One goroutine owns it.
type claimTable struct {
	claims map[string]*claim // by level of the protocol
}

// request applies a message. changed says that the holder is another one now.
func (t *claimTable) request(now time.Time, level string, m topics.ClaimMessage) (changed bool, err error) {
	c := t.claims[level]
	if m.Release {
		if c == nil {
			return false, nil
		}
		return t.end(now, level, c, func(w claimant) bool { return w.instance == m.Instance }), nil
	}
	if c == nil {
		if len(level) > maxClaimLevel {
			return false, &twin.Error{Code: twin.CodeInvalid, Reason: fmt.Sprintf("the protocol's name in the topic has %d bytes, and the most is %d: its mappers run without claims", len(level), maxClaimLevel)}
		}
		if len(t.claims) >= maxClaims {
			return false, &twin.Error{Code: codeBusy, Reason: fmt.Sprintf("mappers of %d protocols have claims already, which is the most", maxClaims)}
		}
		c = new(claim)
		t.claims[level] = c
	}
	next := claimant{instance: m.Instance, name: m.Mapper, since: now, until: now.Add(claimLease)}
	if c.holder.instance == "" {
		c.holder = next
		if m.Holder != "" && m.Holder != m.Instance { // this edgecore has just started, and another mapper drives them
			c.holder.instance, c.holder.name = m.Holder, m.HolderName
		}
		changed = true
	}
	if c.holder.instance == m.Instance {
		c.holder.name, c.holder.until = next.name, next.until
		return changed, nil
	}
	if i := slices.IndexFunc(c.waiting, func(w claimant) bool { return w.instance == m.Instance }); i >= 0 {
		c.waiting[i].name, c.waiting[i].until = next.name, next.until
		return changed, nil
	}
	namesake := slices.IndexFunc(c.waiting, func(w claimant) bool { return w.name == m.Mapper })
	switch restarted := m.Holder == ""; {
	case restarted && m.Mapper == c.holder.name:
		next, c.holder, changed = c.holder, next, true
		next.since = now // that it waits
	case restarted && namesake >= 0:
		next.since = c.waiting[namesake].since
		c.waiting[namesake] = next
		return changed, nil
	}
	if len(c.waiting) < maxWaiting {
		c.waiting = append(c.waiting, next)
	}
	return changed, nil
}

// expire ends the claims that were not repeated, and returns the protocols with another holder.
func (t *claimTable) expire(now time.Time) (changed []string) {
	for level, c := range t.claims {
		if t.end(now, level, c, func(w claimant) bool { return !now.Before(w.until) }) {
			changed = append(changed, level)
		}
	}
	return changed
}

// end removes claimants and reports whether the holder is another one now.
func (t *claimTable) end(now time.Time, level string, c *claim, gone func(claimant) bool) (changed bool) {
	c.waiting = slices.DeleteFunc(c.waiting, gone)
	if !gone(c.holder) {
		return false
	}
	if len(c.waiting) == 0 {
		delete(t.claims, level)
		return true
	}
	i := max(0, slices.IndexFunc(c.waiting, func(w claimant) bool { return w.until.Sub(now) > claimLease-claimMissed }))
	c.holder = c.waiting[i]
	c.waiting = slices.Delete(c.waiting, i, i+1)
	c.holder.since = now // its claim still ends when it would have: it may be gone too
	return true
}

// result is what mappers are to know of a claim.
func (t *claimTable) result(level string) *topics.ClaimResultMessage {
	m := new(topics.ClaimResultMessage)
	if c := t.claims[level]; c != nil {
		m.Holder, m.HolderName = c.holder.instance, c.holder.name
		for _, w := range c.waiting {
			m.Waiting = append(m.Waiting, w.name)
		}
	}
	return m
}

// waits returns who holds a protocol and who waits for it since the given time or longer.
func (t *claimTable) waits(level string, since time.Time) (holder string, waiting []string) {
	c := t.claims[level]
	if c == nil {
		return "", nil
	}
	for _, w := range c.waiting {
		if !w.since.After(since) {
			waiting = append(waiting, w.name)
		}
	}
	return c.holder.name, waiting
}

// decodeClaim reads a ClaimMessage.
func decodeClaim(payload []byte) (m topics.ClaimMessage, err error) {
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return topics.ClaimMessage{}, fmt.Errorf("payload is no claim: %w", err)
	}
	for _, f := range []struct{ field, value string }{{"mapper", m.Mapper}, {"instance", m.Instance}} {
		if f.value == "" {
			return m, fmt.Errorf("field %q is required", f.field)
		}
	}
	if m.Instance == localInstance {
		return m, fmt.Errorf("field %q is %q, which is edgecore's own: use a random one", "instance", m.Instance)
	}
	for _, f := range []struct{ field, value string }{{"mapper", m.Mapper}, {"instance", m.Instance}, {"holder", m.Holder}, {"holder_name", m.HolderName}} {
		if !topics.IsMapperName(f.value) {
			return m, fmt.Errorf("field %q is %.140q: use at most %d bytes that can be printed", f.field, f.value, topics.MaxMapperName)
		}
	}
	return m, nil
}
