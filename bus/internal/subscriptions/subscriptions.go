// Package subscriptions keeps the subscriptions that a transport of bus makes for its
// program, and finds those that get a message. It has no lock: its owner has one.
package subscriptions

import (
	"maps"
	"slices"

	"github.com/edgekit/edgekit/bus"
)

// List holds subscriptions in the order in which they were made. The zero List is ready.
type List struct {
	subs map[int]subscription
	last int // the newest id
	turn int // of the shared subscriptions
}

type subscription struct {
	filter  string
	deliver func(bus.Message)
}

// Add keeps a subscription and returns its id for Remove.
func (l *List) Add(filter string, deliver func(bus.Message)) (id int) {
	if l.subs == nil {
		l.subs = make(map[int]subscription)
	}
	l.last++
	l.subs[l.last] = subscription{filter: filter, deliver: deliver}
	return l.last
}

// Remove removes a subscription, and reports whether it was the last one with its filter. It
// may be called again.
func (l *List) Remove(id int) (last bool) {
	removed, ok := l.subs[id]
	delete(l.subs, id)
	for _, s := range l.subs {
		if s.filter == removed.filter {
			return false
		}
	}
	return ok
}

// Filters returns the filters in order, each once.
func (l *List) Filters() []string {
	filters := make([]string, 0, len(l.subs))
	for _, s := range l.subs {
		filters = append(filters, s.filter)
	}
	slices.Sort(filters)
	return slices.Compact(filters)
}

// Match returns the functions of the subscriptions for a topic: of those with one shared
// filter that of the next one.
func (l *List) Match(topic string) []func(bus.Message) {
	var matched []func(bus.Message)
	var shared map[string][]func(bus.Message)
	for _, id := range slices.Sorted(maps.Keys(l.subs)) {
		s := l.subs[id]
		inner := bus.Unshare(s.filter)
		switch {
		case !bus.Match(inner, topic):
		case inner == s.filter:
			matched = append(matched, s.deliver)
		default:
			if shared == nil {
				shared = make(map[string][]func(bus.Message))
			}
			shared[s.filter] = append(shared[s.filter], s.deliver)
		}
	}
	for _, group := range shared {
		l.turn++
		matched = append(matched, group[l.turn%len(group)])
	}
	return matched
}
