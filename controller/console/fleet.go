package console

import (
	"cmp"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/third_party/forked/golang/btree"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// States of a node's link.
const (
	stateConnected    = "connected"
	stateDisconnected = "disconnected"
	stateUnknown      = "unknown" // it never connected
)

const (
	maxText     = 128  // bytes of a text in a list, such as a version
	maxMessage  = 1024 // bytes of a text in the view of one object
	maxSites    = 500  // in a summary
	maxVersions = 50
	// keptChanges is how many changes of nodes a stream may be behind before it is only sent
	// that there were changes.
	keptChanges = 4096
)

// nodeRow is a node as lists show it.
type nodeRow struct {
	name, site, version, address string
	state                        string
	since                        int64 // of state, in seconds since 1970; 0 if not known
	ready                        bool
	text                         string // that a search looks into
}

// groupRow counts the nodes that have a site, or a version, in common.
type groupRow struct {
	name             string
	total, connected int
}

// fleet has all edge nodes and their counts, kept up to date change by change.
type fleet struct {
	siteLabels []string
	rows       *table[nodeRow]

	mu       sync.Mutex
	counts   map[string]int // nodes by state
	notReady int
	total    int
	sites    groups // worst first
	versions groups // most first
	seq      uint64 // of the last change
	changes  [keptChanges]nodeChange
}

// nodeChange is a change of a node: of what it has, or that it came or went.
type nodeChange struct {
	name  string
	moved bool
}

// groups counts nodes by a value of theirs.
type groups struct {
	byName map[string]*groupRow
	sorted *btree.BTree[*groupRow]
}

func newGroups(compare func(a, b *groupRow) int) groups {
	return groups{make(map[string]*groupRow), btree.New(treeDegree, func(a, b *groupRow) bool {
		return cmp.Or(compare(a, b), strings.Compare(a.name, b.name)) < 0
	})}
}

// add adds or, with a negative number, removes nodes.
func (g *groups) add(name string, nodes, connected int) {
	old := g.byName[name]
	now := &groupRow{name: name, total: nodes, connected: connected}
	if old != nil {
		g.sorted.Delete(old)
		now.total, now.connected = old.total+nodes, old.connected+connected
	}
	if now.total <= 0 {
		delete(g.byName, name)
		return
	}
	g.byName[name] = now
	g.sorted.ReplaceOrInsert(now)
}

// first returns the first groups.
func (g *groups) first(n int) []*groupRow {
	var out []*groupRow
	g.sorted.Ascend(func(r *groupRow) bool {
		out = append(out, r)
		return len(out) < n
	})
	return out
}

func newFleet(siteLabels []string) *fleet {
	f := &fleet{siteLabels: siteLabels, counts: make(map[string]int), rows: newTable(nodeOrders())}
	f.sites = newGroups(func(a, b *groupRow) int {
		return cmp.Or(cmp.Compare(b.total-b.connected, a.total-a.connected), cmp.Compare(b.total, a.total))
	})
	f.versions = newGroups(func(a, b *groupRow) int { return cmp.Compare(b.total, a.total) })
	return f
}

// nodeOrders are the orders of the list of nodes. Nodes that are equal are in the order of
// their names.
func nodeOrders() map[string]order[nodeRow] {
	by := func(value func(*nodeRow) string, pivot func(*nodeRow, string)) order[nodeRow] {
		return order[nodeRow]{
			less: func(a, b *nodeRow) bool {
				return cmp.Or(strings.Compare(value(a), value(b)), strings.Compare(a.name, b.name)) < 0
			},
			cursor: func(r *nodeRow) cursor { return cursor{Value: value(r), Name: r.name} },
			pivot: func(c cursor) *nodeRow {
				r := &nodeRow{name: c.Name}
				pivot(r, c.Value)
				return r
			},
		}
	}
	return map[string]order[nodeRow]{
		"name":    by(func(*nodeRow) string { return "" }, func(*nodeRow, string) {}),
		"site":    by(func(r *nodeRow) string { return r.site }, func(r *nodeRow, v string) { r.site = v }),
		"state":   by(func(r *nodeRow) string { return r.state }, func(r *nodeRow, v string) { r.state = v }),
		"version": by(func(r *nodeRow) string { return r.version }, func(r *nodeRow, v string) { r.version = v }),
		"since": {
			less: func(a, b *nodeRow) bool {
				return cmp.Or(cmp.Compare(a.since, b.since), strings.Compare(a.name, b.name)) < 0
			},
			cursor: func(r *nodeRow) cursor { return cursor{Value: stamp(time.Unix(r.since, 0)), Name: r.name} },
			pivot: func(c cursor) *nodeRow {
				at, _ := time.Parse(time.RFC3339, c.Value) // a bad one is before all
				return &nodeRow{name: c.Name, since: at.Unix()}
			},
		},
	}
}

// newNodeRow reads what lists show of a node. The texts that a node writes itself are cut.
func newNodeRow(n *corev1.Node, siteLabels []string) *nodeRow {
	r := &nodeRow{name: n.Name, state: stateUnknown, version: summary.Shorten(n.Status.NodeInfo.KubeletVersion, maxText)}
	for _, label := range siteLabels {
		if r.site = n.Labels[label]; r.site != "" {
			break
		}
	}
	var since time.Time
	for i := range n.Status.Conditions {
		switch c := &n.Status.Conditions[i]; c.Type {
		case nodelifecycle.ConditionConnected:
			since = c.LastTransitionTime.Time
			switch c.Status {
			case corev1.ConditionTrue:
				r.state = stateConnected
			case corev1.ConditionFalse:
				r.state = stateDisconnected
			}
		case corev1.NodeReady:
			r.ready = c.Status == corev1.ConditionTrue
		}
	}
	for _, t := range n.Spec.Taints {
		if t.Key == nodelifecycle.DisconnectedTaint && t.TimeAdded != nil {
			since = t.TimeAdded.Time // the node cannot write it
		}
	}
	if !since.IsZero() {
		r.since = since.Unix()
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || r.address == "" {
			r.address = summary.Shorten(a.Address, maxText)
			if a.Type == corev1.NodeInternalIP {
				break
			}
		}
	}
	r.text = r.name + "\n" + strings.ToLower(r.site) + "\n" + strings.ToLower(r.address)
	return r
}

// nodeChanged follows the store of nodes.
func (f *fleet) nodeChanged(change cache.Change[*corev1.Node]) {
	var before, now *nodeRow
	if change.Old != nil {
		before = f.rows.get("name", &nodeRow{name: change.Name.Name})
	}
	if change.New != nil {
		now = newNodeRow(change.New, f.siteLabels)
	}
	if before != nil && now != nil && *before == *now {
		return
	}
	f.rows.replace(before, now)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.countLocked(before, -1)
	f.countLocked(now, 1)
	f.changes[f.seq%keptChanges] = nodeChange{change.Name.Name, before == nil || now == nil}
	f.seq++
}

func (f *fleet) countLocked(r *nodeRow, by int) {
	if r == nil {
		return
	}
	f.total += by
	f.counts[r.state] += by
	if !r.ready {
		f.notReady += by
	}
	connected := 0
	if r.state == stateConnected {
		connected = by
	}
	f.sites.add(r.site, by, connected)
	f.versions.add(r.version, by, connected)
}

// since returns the nodes that changed after seq, at most limit, and whether there is more
// than that to read.
func (f *fleet) since(seq uint64, limit int) (names []string, more bool, now uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seq-seq > keptChanges {
		return nil, true, f.seq
	}
	seen := make(map[string]bool)
	for ; seq < f.seq; seq++ {
		c := &f.changes[seq%keptChanges]
		more = more || c.moved
		if !seen[c.name] {
			if len(names) == limit {
				return names, true, f.seq
			}
			seen[c.name] = true
			names = append(names, c.name)
		}
	}
	return names, more, f.seq
}

// nodeCounts are the nodes in a summary.
type nodeCounts struct {
	Total        int `json:"total"`
	Connected    int `json:"connected"`
	Disconnected int `json:"disconnected"`
	Unknown      int `json:"unknown"`
	NotReady     int `json:"notReady"`
}

type versionCount struct {
	Version string `json:"version"`
	Count   int    `json:"count"`
}

type siteCount struct {
	Name      string `json:"name"`
	Total     int    `json:"total"`
	Connected int    `json:"connected"`
}

// fleetSummary is the part of a summary that is about nodes.
type fleetSummary struct {
	Nodes         *nodeCounts    `json:"nodes,omitempty"`
	Versions      []versionCount `json:"versions,omitempty"` // those with the most nodes
	VersionsTotal int            `json:"versionsTotal,omitempty"`
	Sites         []siteCount    `json:"sites,omitempty"` // those with the most disconnected nodes first
	SitesTotal    int            `json:"sitesTotal,omitempty"`
}

// summary returns the counts as they are now.
func (f *fleet) summary() fleetSummary {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := fleetSummary{
		Nodes:         &nodeCounts{f.total, f.counts[stateConnected], f.counts[stateDisconnected], f.counts[stateUnknown], f.notReady},
		VersionsTotal: len(f.versions.byName), SitesTotal: len(f.sites.byName),
	}
	for _, g := range f.versions.first(maxVersions) {
		out.Versions = append(out.Versions, versionCount{g.name, g.total})
	}
	for _, g := range f.sites.first(maxSites) {
		out.Sites = append(out.Sites, siteCount{g.name, g.total, g.connected})
	}
	return out
}

// stamp writes a time as all answers have it; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() || t.Unix() <= 0 {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// now returns the number of the last change.
func (f *fleet) now() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seq
}
