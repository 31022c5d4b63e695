package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

const (
	// maxFoundBytes bounds what is kept of all that mappers have found.
	maxFoundBytes = 1 << 20
	// foundOverhead is what one device costs in memory beside its JSON.
	foundOverhead = 64
	// maxEmptyLevel is the longest topic level of a protocol of which the count of dropped devices is
	// kept when none of its devices has room.
	maxEmptyLevel = 512
	// maxFoundLists is how many protocols have a list.
	maxFoundLists = 64
)

// foundDevices keeps what the mappers of the node have found and nobody has declared, for
// "edgectl device adopt node/NODE". It comes from retained messages, so that it is there again after
// a restart.
type foundDevices struct {
	bus  nodeBus
	node string
	log  *slog.Logger

	mu    sync.Mutex
	lists map[string]nodestate.FoundList // by protocol
}

func newFoundDevices(b nodeBus, node string, log *slog.Logger) *foundDevices {
	return &foundDevices{bus: b, node: node, log: log, lists: make(map[string]nodestate.FoundList)}
}

// run follows the mappers until ctx ends.
func (f *foundDevices) run(ctx context.Context) error {
	stop, err := subscribe(ctx, f.bus, topics.Node(f.node, topics.ProposedOfAll), f.handle)
	if stop == nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return nil
}

// handle takes the list of a mapper.
func (f *foundDevices) handle(_ context.Context, m bus.Message) {
	level, ok := topics.ParseProposed(strings.TrimPrefix(m.Topic, topics.Node(f.node, "")))
	if !ok {
		return
	}
	list, err := decodeFound(level, m.Payload)
	if err != nil {
		f.log.Warn("list of found devices is ignored", "topic", m.Topic, "err", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(level, list)
}

// put keeps a list by the level of its protocol, as much of it as there is room for.
func (f *foundDevices) put(level string, list nodestate.FoundList) {
	delete(f.lists, level)
	room := maxFoundBytes - len(level)
	for otherLevel, other := range f.lists {
		room -= len(otherLevel)
		for _, p := range other.Devices {
			room -= len(p) + foundOverhead
		}
	}
	if len(f.lists) >= maxFoundLists {
		room = 0
	}
	for i, p := range list.Devices {
		if room -= len(p) + foundOverhead; room < 0 {
			list.Dropped += len(list.Devices) - i
			list.Devices = slices.Clone(list.Devices[:i])
			break
		}
	}
	if len(list.Devices) > 0 || (list.Dropped > 0 && len(level) <= maxEmptyLevel && len(f.lists) < maxFoundLists) {
		f.lists[level] = list // without devices it says how many were dropped
	}
	if list.Dropped > 0 {
		f.log.Warn("devices that a mapper has found have no room", "protocol", list.Protocol, "kept", len(list.Devices), "dropped", list.Dropped)
	}
}

// decodeFound reads a message with the devices of a protocol.
func decodeFound(level string, payload []byte) (nodestate.FoundList, error) {
	if len(payload) == 0 { // the retained message was removed
		return nodestate.FoundList{}, nil
	}
	var m struct {
		topics.Header
		Protocol  string                  `json:"protocol"`
		Proposals []nodestate.FoundDevice `json:"proposals"`
	}
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return nodestate.FoundList{}, err
	}
	if topics.ProtocolLevel(m.Protocol) != level {
		return nodestate.FoundList{}, fmt.Errorf("field %q is %.80q, and the topic is that of another protocol", "protocol", m.Protocol)
	}
	for i, p := range m.Proposals {
		if len(p) == 0 || p[0] != '{' {
			return nodestate.FoundList{}, fmt.Errorf("proposals[%d] is no object", i)
		}
	}
	return nodestate.FoundList{Protocol: m.Protocol, Timestamp: m.Timestamp, Devices: m.Proposals}, nil
}

// ServeHTTP answers with all lists.
func (f *foundDevices) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	out := nodestate.Found{Kind: nodestate.FoundKind, Node: f.node, Lists: []nodestate.FoundList{}}
	f.mu.Lock()
	for _, list := range f.lists {
		out.Lists = append(out.Lists, list)
	}
	f.mu.Unlock()
	slices.SortFunc(out.Lists, func(a, b nodestate.FoundList) int { return cmp.Compare(a.Protocol, b.Protocol) })
	answerJSON(w, out)
}
