package simulate

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// node is one light node: the Sink of what it must hold, and the Source of what it reports.
type node struct {
	fleet *Fleet
	name  string

	mu      sync.Mutex
	held    map[hub.Key]string  // versions of what cloudcore has sent
	pods    map[string]*pod     // by name; all are in the simulation's namespace or were put here by others
	pending map[hub.Key]*report // what cloudcore has not acknowledged
	changed func(hub.Key)       // nil without a session
	last    uint64              // version of the last report
	dialed  time.Time           // when the present attempts to connect began; zero while connected
	session int                 // how many there were
	state   string              // of the device; "" without one

	provisioned bool // its pods and device are being or were created
}

// pod is what a node knows of one of its pods.
type pod struct {
	namespace  string
	uid        types.UID
	created    time.Time // here, before the API server had it; zero for pods of others
	containers []string
	ready      bool
}

// report is a report that waits for its acknowledgement.
type report struct {
	version uint64
	at      time.Time
}

var (
	_ hub.Sink   = (*node)(nil)
	_ hub.Source = sender{}
	_ hub.Acker  = sender{}
)

// Versions lists what the node holds.
func (n *node) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.All(maps.Clone(n.held)), nil
}

// sender is a node as a Source, whose Versions are of its reports.
type sender struct{ *node }

// Versions lists what is not acknowledged.
func (s sender) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[hub.Key]string, len(s.pending))
	for key, r := range s.pending {
		out[key] = strconv.FormatUint(r.version, 10)
	}
	return maps.All(out), nil
}

// podBody is what a node reads of a pod.
type podBody struct {
	Metadata struct {
		UID               types.UID    `json:"uid"`
		DeletionTimestamp *metav1.Time `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Containers []struct {
			Name string `json:"name"`
		} `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase corev1.PodPhase `json:"phase"`
	} `json:"status"`
}

// Apply takes what cloudcore sends.
func (n *node) Apply(_ context.Context, objects []hub.Object) error {
	now := time.Now()
	var start []string
	for _, o := range objects {
		n.mu.Lock()
		if o.Deleted {
			delete(n.held, o.Key)
		} else {
			n.held[o.Key] = string([]byte(o.Version)) // not a part of a frame
		}
		n.mu.Unlock()
		switch o.Key.Resource {
		case resources.Pods:
			fresh, err := n.applyPod(o, now)
			if err != nil {
				return err
			}
			if fresh {
				start = append(start, o.Key.Name)
			}
		case resources.Devices:
			n.applyDevice(o)
		}
	}
	if len(start) > 0 {
		n.fleet.agenda.after(n.fleet.cfg.PodDelay, func() { n.run(start) })
	}
	return nil
}

// applyPod takes one pod. It reports whether the pod is to be started.
func (n *node) applyPod(o hub.Object, now time.Time) (fresh bool, _ error) {
	n.mu.Lock()
	if o.Deleted {
		delete(n.pods, o.Key.Name)
		n.mu.Unlock()
		return false, nil
	}
	n.mu.Unlock()
	var body podBody
	if err := json.Unmarshal(o.Body, &body); err != nil {
		return false, &hub.Error{Code: hub.CodeInvalid, Text: "not the JSON of a pod: " + err.Error()}
	}
	n.mu.Lock()
	p := n.pods[o.Key.Name]
	if p == nil {
		p = &pod{}
		n.pods[o.Key.Name] = p
	}
	if p.uid != body.Metadata.UID {
		fresh = true
		p.namespace, p.uid, p.ready, p.containers = o.Key.Namespace, body.Metadata.UID, false, nil
		for _, c := range body.Spec.Containers {
			p.containers = append(p.containers, n.fleet.word(c.Name))
		}
		if !p.created.IsZero() {
			n.fleet.stats.podArrival.add(now.Sub(p.created))
			p.created = time.Time{}
		}
		n.fleet.stats.pods.Add(1)
	}
	ends := body.Metadata.DeletionTimestamp != nil
	n.mu.Unlock()
	if ends {
		n.put(hub.Key{Resource: resources.Pods, Namespace: o.Key.Namespace, Name: o.Key.Name})
		return false, nil
	}
	return fresh, nil
}

// run makes pods Running and Ready.
func (n *node) run(names []string) {
	for _, name := range names {
		n.mu.Lock()
		p, namespace := n.pods[name], ""
		if p != nil {
			p.ready, namespace = true, p.namespace
		}
		n.mu.Unlock()
		if p != nil {
			n.put(hub.Key{Resource: resources.PodStatus, Namespace: namespace, Name: name})
		}
	}
}

// applyDevice begins the reports of the node's device when it has come.
func (n *node) applyDevice(o hub.Object) {
	n.mu.Lock()
	begin := n.state == "" && !o.Deleted && o.Key.Name == n.name && o.Key.Namespace == n.fleet.cfg.Namespace
	if begin {
		n.state = "online"
	}
	if o.Deleted && o.Key.Name == n.name {
		n.state = ""
	}
	n.mu.Unlock()
	if begin {
		n.fleet.agenda.after(spread(n.name, n.fleet.cfg.ReportInterval), n.reportDevice)
	}
}

// reportDevice reports the device and comes back after the interval.
func (n *node) reportDevice() {
	n.mu.Lock()
	gone := n.state == ""
	n.mu.Unlock()
	if gone {
		return
	}
	n.put(hub.Key{Resource: resources.DeviceStatuses, Namespace: n.fleet.cfg.Namespace, Name: n.name})
	n.fleet.agenda.after(n.fleet.cfg.ReportInterval, n.reportDevice)
}

// reportNode reports the node and comes back after the interval, if there is one.
func (n *node) reportNode() {
	n.put(hub.Key{Resource: resources.Nodes, Name: n.name})
	if n.fleet.cfg.NodeInterval > 0 {
		n.fleet.agenda.after(n.fleet.cfg.NodeInterval, n.reportNode)
	}
}

// put has a report sent. One that waits already is replaced.
func (n *node) put(key hub.Key) {
	n.mu.Lock()
	n.last++
	n.pending[key] = &report{n.last, time.Now()}
	changed := n.changed
	n.mu.Unlock()
	if changed != nil {
		changed(key)
	}
}

// Load makes the newest report of a key.
func (n *node) Load(_ context.Context, key hub.Key, _ string) (hub.Object, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	version, at := n.last, time.Now()
	if r := n.pending[key]; r != nil {
		version, at = r.version, r.at
	}
	o := hub.Object{Key: key, Version: strconv.FormatUint(version, 10)}
	var body any
	switch p := n.pods[key.Name]; {
	case key.Resource == resources.Nodes:
		body = n.nodeBody(at)
	case key.Resource == resources.PodStatus && p != nil && p.uid != "":
		body = podStatusBody(key, p, at)
	case key.Resource == resources.Pods && p != nil && p.uid != "":
		o.Deleted = true
		body = metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.uid}}
	case key.Resource == resources.DeviceStatuses && n.state != "":
		body = n.deviceBody(at)
	default:
		o.Deleted = true
		return o, nil
	}
	var err error
	if o.Body, err = json.Marshal(body); err != nil {
		return hub.Object{}, &hub.Error{Code: hub.CodeInvalid, Text: err.Error()}
	}
	return o, nil
}

// Compare orders versions, which are decimal numbers.
func (n *node) Compare(a, b string) int {
	x, _ := strconv.ParseUint(a, 10, 64) // 0, the oldest, if it is none
	y, _ := strconv.ParseUint(b, 10, 64)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// Subscribe takes the one subscriber, the session.
func (n *node) Subscribe(changed func(hub.Key)) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changed = changed
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changed = nil
	}
}

// Acked forgets what cloudcore has, and counts how long it took.
func (n *node) Acked(_ context.Context, acked []hub.Object) error {
	now := time.Now()
	for _, o := range acked {
		n.mu.Lock()
		r := n.pending[o.Key]
		if r == nil || strconv.FormatUint(r.version, 10) != o.Version {
			n.mu.Unlock()
			continue
		}
		delete(n.pending, o.Key)
		n.mu.Unlock()
		switch o.Key.Resource {
		case resources.PodStatus:
			n.fleet.stats.podStatus.add(now.Sub(r.at))
		case resources.Nodes:
			n.fleet.stats.nodeStatus.add(now.Sub(r.at))
			n.fleet.registered(n)
		}
	}
	return nil
}

// connected follows the node's sessions.
func (n *node) connected(info hub.Info) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.fleet.stats
	if !info.Connected {
		n.dialed = now
		s.connected.Add(-1)
		return
	}
	s.connected.Add(1)
	if n.session++; n.session == 1 {
		s.connect.add(now.Sub(n.dialed))
	} else {
		s.reconnect.add(now.Sub(n.dialed))
	}
	n.dialed = time.Time{}
}

// dialing notes when the first attempt begins.
func (n *node) dialing() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session == 0 && n.dialed.IsZero() {
		n.dialed = time.Now()
	}
}
