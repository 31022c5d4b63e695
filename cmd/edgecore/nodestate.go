package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/cmd/internal/profiles"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/twin"
)

const (
	// runtimeAnswer bounds one question to the runtime for the status document.
	runtimeAnswer = 3 * time.Second
	// maxStacks bounds a dump of goroutines in bytes.
	maxStacks = 4 << 20
	// profilesPath begins the paths of profiles. Through the link they need the right nodes/proxy, at
	// the node the kubelet API's socket, which only root may open.
	profilesPath = "/debug/pprof/"
)

// nodeState writes the node's status document. All fields are set before the node runs.
type nodeState struct {
	run     *runCmd
	node    *node
	manager *manager.Manager
	link    *link
	agent   *edged.Agent
	runtime containerRuntime
	slot    upgrade.Slot // of this program
	devices func() []twin.Device
	found   http.Handler        // of the devices that mappers have found
	broker  func() broker.Stats // nil without an embedded broker or outbox
	started time.Time
	encrypt bool
}

func (r *runCmd) newNodeState(n *node, mgr *manager.Manager, l *link, agent *edged.Agent, rt containerRuntime) *nodeState {
	return &nodeState{
		run: r, node: n, manager: mgr, link: l, agent: agent, runtime: rt, started: time.Now(),
		encrypt: !badgerstore.Plain(filepath.Join(n.data, storeDir)),
	}
}

// handlers are the paths of the status document, and of what belongs to a report of a fault.
func (s *nodeState) handlers() map[string]http.Handler {
	all := profiles.New().Handlers(profilesPath)
	maps.Copy(all, map[string]http.Handler{
		nodestate.Path: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answerJSON(w, s.status(r.Context()))
		}),
		nodestate.PathFound: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.found.ServeHTTP(w, r) }),
		nodestate.PathGoroutines: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write(stacks())
		}),
		nodestate.PathLog: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			for _, line := range s.run.recent.Lines() {
				_, _ = w.Write([]byte(line + "\n"))
			}
		}),
	})
	return all
}

// ready reports why this program cannot do its work: the store takes no writes, or the container
// runtime does not answer. That the cloud is away is no reason.
func (s *nodeState) ready(ctx context.Context) error {
	if err := s.node.store.Stats().Failure; err != nil {
		return fmt.Errorf("the store takes no writes: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, runtimeAnswer)
	defer cancel()
	if _, err := s.runtime.Version(ctx); err != nil {
		return fmt.Errorf("the container runtime does not answer: %w", err)
	}
	return nil
}

// stacks are those of all goroutines. They hold code and addresses, and no data.
func stacks() []byte {
	for size := 64 << 10; ; size *= 2 {
		text := make([]byte, size)
		if n := goruntime.Stack(text, true); n < size || size >= maxStacks {
			return text[:n]
		}
	}
}

// status is the document as of now.
func (s *nodeState) status(ctx context.Context) nodestate.Status {
	now := time.Now()
	out := nodestate.Status{
		Kind: nodestate.Kind, Node: s.node.name, Time: now,
		Program: nodestate.Program{
			Version: program.Version(), Kubernetes: edged.DefaultVersion, Slot: s.slot.String(), Instance: s.node.instance, PID: os.Getpid(), Started: s.started,
		},
		Link: s.linkState(), Store: s.storeState(), Runtime: s.runtimeState(ctx), Pods: nodestate.PodsOf(s.agent.Pods()),
		Devices: devicesState(s.devices()), MQTT: s.mqttState(), Clock: nodestate.Clock{Now: now, Proved: s.node.clock.Now()},
		Disks: []nodestate.Disk{}, Errors: s.run.recent.Problems(),
	}
	certificate := s.node.identity.Stats()
	out.Certificate = nodestate.Certificate{Ends: certificate.Certificate, AuthorityEnds: certificate.Authority, Renewed: certificate.Renewed, RenewalFailed: certificate.Failed}
	out.Clock.Behind = out.Clock.Proved.Sub(now) > time.Minute
	for _, path := range []string{s.node.data, s.run.PodLogDir} {
		if d, ok := nodestate.DiskOf(path); ok {
			out.Disks = append(out.Disks, d)
		}
	}
	if out.Errors == nil {
		out.Errors = []string{}
	}
	return out
}

func (s *nodeState) linkState() nodestate.Link {
	info, attempt, stats := s.manager.Connection(), s.link.attempt(), s.link.client.Load().Stats()
	out := nodestate.Link{
		Connected: info.Connected, Since: info.Since, Cloud: s.node.cloud, Transport: info.Transport, Fenced: stats.Fenced,
		Failed: attempt.Failed, LastTry: attempt.At, NextTry: attempt.Next, RoundTrip: roundTrip(stats.RoundTrip),
	}
	if !info.Connected {
		out.Reason = info.Reason
		if attempt.Err != nil {
			out.Reason = attempt.Err.Error()
		}
	}
	return out
}

// roundTrip is the mean; "" if nothing was measured.
func roundTrip(h hub.Histogram) string {
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	if n == 0 {
		return ""
	}
	return (h.Sum / time.Duration(n)).Round(time.Millisecond / 10).String()
}

func (s *nodeState) storeState() nodestate.Store {
	stats, outbox := s.node.store.Stats(), s.manager.Stats()
	out := nodestate.Store{
		Bytes: stats.DiskBytes, FreeBytes: stats.FreeBytes, Encrypted: s.encrypt, Damaged: stats.Damaged,
		EventsWaiting: outbox.EventsWaiting, EventsDropped: outbox.EventsDropped, StateRefused: outbox.StateRefused,
	}
	if stats.Failure != nil {
		out.Failure = stats.Failure.Error()
	}
	if s.manager.Connection().Connected {
		queued := s.link.client.Load().Stats().Queued[hub.ClassState]
		out.StateQueued = &queued
	}
	return out
}

func (s *nodeState) runtimeState(ctx context.Context) nodestate.Runtime {
	ctx, cancel := context.WithTimeout(ctx, runtimeAnswer)
	defer cancel()
	out := nodestate.Runtime{Endpoint: s.run.RuntimeEndpoint}
	version, err := s.runtime.Version(ctx)
	if err != nil {
		out.Message = err.Error()
		return out
	}
	out.Name, out.Version = version.Name, version.Version
	health, err := s.runtime.Health(ctx)
	switch {
	case err != nil:
		out.Message = err.Error()
	case !health.RuntimeReady:
		out.Message = health.RuntimeMessage
	case !health.NetworkReady:
		out.Message = health.NetworkMessage
	default:
		out.Ready = true
	}
	return out
}

func devicesState(all []twin.Device) nodestate.Devices {
	out := nodestate.Devices{Total: len(all), States: make(map[string]int), Bad: []string{}}
	for _, d := range all {
		state := d.State
		if state == "" {
			state = "none"
		}
		out.States[state]++
		if state != "online" && state != "ok" {
			out.Bad = append(out.Bad, d.ID)
		}
	}
	slices.Sort(out.Bad)
	out.Bad = out.Bad[:min(len(out.Bad), nodestate.MaxListed)]
	return out
}

func (s *nodeState) mqttState() nodestate.MQTT {
	out := nodestate.MQTT{Mode: s.run.MQTTMode.String()}
	var stats broker.Stats
	if s.broker != nil {
		stats = s.broker()
	}
	if s.run.MQTTMode != bus.External {
		out.Listen, out.Clients, out.QueuedBytes = s.run.MQTTListen, stats.Clients, stats.QueuedBytes
	}
	if outside := s.node.outside.Load(); outside != nil {
		status := outside.Status()
		out.Outside = &nodestate.Broker{URL: withoutPassword(s.run.MQTTBroker), Connected: status.Connected, Since: status.Since, Waiting: stats.Outside}
		if !status.Connected {
			out.Outside.Reason = cause(status.Err)
		}
	}
	return out
}

// withoutPassword is a URL with no password in it.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Redacted()
}
