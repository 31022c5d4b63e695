package twin

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Condition is what a user must know of a device, as its mapper reports it: Kubernetes'
// condition.
type Condition struct {
	Type    string    `json:"type"`              // for example Connected
	Status  bool      `json:"status"`            // whether it holds
	Reason  string    `json:"reason"`            // one word
	Message string    `json:"message,omitempty"` // for people
	Time    time.Time `json:"time,omitzero"`     // when Status last changed; set by Step
}

// The bounds of a device's conditions.
const (
	MaxConditions       = 16   // types that a device may have
	maxConditionName    = 64   // bytes of a type or reason
	maxConditionMessage = 1024 // bytes of a message
)

// SetConditions reports conditions of a device. Those of other types stay as they are.
type SetConditions struct {
	Conditions []Condition
	Edge       bool // the edge has found them: they say nothing of whether the device answers
}

func (SetConditions) request() {}

// setConditions keeps the conditions by type.
func (d Device) setConditions(now time.Time, r SetConditions) (Device, []Effect) {
	next := slices.Clone(d.Conditions)
	changed := false
	for _, c := range r.Conditions {
		if !isConditionName(c.Type) || !isConditionName(c.Reason) {
			return d, refuse(CodeInvalid, "condition %.80q with reason %.80q: each is a word of letters and digits, of at most %d bytes", c.Type, c.Reason, maxConditionName)
		}
		if len(c.Message) > maxConditionMessage || !utf8.ValidString(c.Message) {
			return d, refuse(CodeInvalid, "the message of condition %s must be UTF-8 of at most %d bytes", c.Type, maxConditionMessage)
		}
		c.Time = now.UTC().Truncate(time.Second)
		i, found := slices.BinarySearchFunc(next, c, func(a, b Condition) int { return strings.Compare(a.Type, b.Type) })
		if !found {
			next, changed = slices.Insert(next, i, c), true
			continue
		}
		if next[i].Status == c.Status {
			c.Time = next[i].Time
		}
		changed = changed || next[i] != c
		next[i] = c
	}
	if len(next) > MaxConditions {
		return d, refuse(CodeTooLarge, "the device would have %d types of conditions, the most is %d", len(next), MaxConditions)
	}
	if !r.Edge {
		d.report(now)
	}
	effects := []Effect{Save{Device: changed, LaterDevice: !changed}, StateResult{State: d.State, LastOnline: d.LastOnline}}
	if changed {
		d.Conditions = next
		effects = append(effects, Report{State: true})
	}
	return d, effects
}

// isConditionName reports whether s can be the type or reason of a condition.
func isConditionName(s string) bool {
	if s == "" || len(s) > maxConditionName {
		return false
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}
