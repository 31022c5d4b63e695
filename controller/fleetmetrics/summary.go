package fleetmetrics

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/meta/resources"
)

// Label values of states.
const (
	stateConnected    = "connected"
	stateDisconnected = "disconnected"
	stateUnknown      = "unknown"
)

// Label values of versions that are not those of nodes, and how many of nodes there are.
const (
	versionOther   = "other"
	versionInvalid = "invalid"
	maxVersions    = 20
	// maxDistinct bounds how many versions are counted at all, so that nodes that invent
	// versions cost little.
	maxDistinct = 1000
)

// window is a time within which certificates end.
type window struct {
	name string // label value
	time.Duration
}

func windows() [4]window {
	return [4]window{{"1h", time.Hour}, {"24h", 24 * time.Hour}, {"168h", 168 * time.Hour}, {"720h", 720 * time.Hour}}
}

// summary is what all nodes are together.
type summary struct {
	states, versions, degraded map[string]int
	expiring                   [4]int // by windows; each counts those of the shorter ones too
	fill, stale                int
}

// summarize looks at all nodes.
func summarize(nodes Nodes, now time.Time) summary {
	s := summary{
		states: map[string]int{stateConnected: 0, stateDisconnected: 0, stateUnknown: 0}, versions: make(map[string]int),
		degraded: map[string]int{resources.ReasonCertificateExpiring: 0, resources.ReasonStoreNearlyFull: 0, resources.ReasonClockSkewed: 0},
	}
	for _, n := range nodes.Objects() {
		s.add(n, now)
	}
	return s
}

func (s *summary) add(n *corev1.Node, now time.Time) {
	version := versionOf(n.Status.NodeInfo.KubeletVersion)
	if _, known := s.versions[version]; !known {
		version = strings.Clone(version) // it must not keep the Node's text
		if len(s.versions) >= maxDistinct {
			version = versionOther
		}
	}
	s.versions[version]++
	state := stateUnknown
	for i := range n.Status.Conditions {
		switch c := &n.Status.Conditions[i]; c.Type {
		case nodelifecycle.ConditionConnected:
			state = stateOf(c.Status)
		case resources.ConditionDegraded:
			s.addHealth(c, now)
		}
	}
	s.states[state]++
}

func stateOf(status corev1.ConditionStatus) string {
	switch status {
	case corev1.ConditionTrue:
		return stateConnected
	case corev1.ConditionFalse:
		return stateDisconnected
	}
	return stateUnknown
}

// addHealth adds what a node reported of itself. What is not in the exact form does not count.
func (s *summary) addHealth(c *corev1.NodeCondition, now time.Time) {
	f, err := resources.ParseHealth(c.Message)
	if err != nil {
		return
	}
	if _, known := s.degraded[c.Reason]; known && c.Status == corev1.ConditionTrue {
		s.degraded[c.Reason]++
	}
	s.fill = max(s.fill, f.StoreFill)
	s.stale += f.TwinsStale
	if f.Certificate.IsZero() {
		return
	}
	for i, w := range windows() {
		if f.Certificate.Sub(now) <= w.Duration {
			s.expiring[i]++
		}
	}
}

// versionOf is edgecore's part of a kubelet version such as v1.37.2-edgekit-v0.1.0.
func versionOf(kubelet string) string {
	const most = 64
	if _, after, ok := strings.Cut(kubelet, "-edgekit-"); ok {
		kubelet = after
	}
	if kubelet == "" || len(kubelet) > most || strings.Trim(kubelet, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-+_") != "" {
		return versionInvalid
	}
	return kubelet
}

// mostFrequent are the versions with a series. versionInvalid and versionOther are always
// among them once they have nodes.
func (s *summary) mostFrequent() map[string]int {
	names := slices.SortedFunc(maps.Keys(s.versions), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.versions[b], s.versions[a]), cmp.Compare(a, b))
	})
	out := make(map[string]int)
	for _, name := range names {
		if name == versionInvalid || name == versionOther || len(out) < maxVersions {
			out[name] += s.versions[name]
			continue
		}
		out[versionOther] += s.versions[name]
	}
	return out
}
