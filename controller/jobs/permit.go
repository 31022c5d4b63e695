package jobs

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Bounds of downloads before a node's turn, so that a large job does not have all nodes ask
// the registry at once.
const (
	minDownloads  = 50        // at a time, or
	downloadAhead = 10        // times the concurrency
	slowDownload  = time.Hour // one that takes longer does not count: others go on
)

// silence is how long a node with a link may say nothing of a job before its job says so.
const silence = 5 * time.Minute

// permit gives the members that have not begun what they may do now.
func (r *round) permit() {
	applyOpen, next := r.job.apply.open(r.now)
	r.wakeAt(next)
	downloadOpen, next := r.job.download.open(r.now)
	r.wakeAt(next)
	if !r.job.downloads {
		applyOpen = applyOpen && downloadOpen // a pull of images is both
	}
	var queue, fetch []*member
	expired := 0 // that hold a place though their time to accept is over
	for i := range r.members {
		m := &r.members[i]
		if m.state != waiting || m.batch == 0 || m.batch > r.batch {
			continue
		}
		phase := m.phase()
		switch {
		case r.busy[m.name] != "":
			m.reason, m.message = v1alpha2.ReasonWaitingForJob, "waits for "+r.busy[m.name]+", which is older"
			if phase == v1alpha2.Download || phase == v1alpha2.Apply {
				r.grant(m, v1alpha2.Paused)
			}
		case !m.present():
			m.reason, m.message = v1alpha2.ReasonNodesAway, "the node has no link; it does the job when it returns"
			if phase == v1alpha2.Apply && !r.granted(m).After(r.now) {
				r.grant(m, v1alpha2.Download)
			}
		case !m.checked(r.job):
			fetch = append(fetch, m)
		case phase == v1alpha2.Apply && applyOpen:
			if !r.granted(m).After(r.now) {
				expired++
			}
		default:
			queue = append(queue, m)
		}
	}
	r.grantDownloads(fetch, downloadOpen)
	begun := r.grantApply(queue, applyOpen)
	if expired > 0 && begun < len(queue) && applyOpen {
		r.passOn(len(queue) - begun)
	}
	r.findSilent()
}

// findSilent finds the members that have a link and a permission and say nothing. An edgecore
// that does not know jobs, or not this kind, is one.
func (r *round) findSilent() {
	for i := range r.members {
		m := &r.members[i]
		phase := m.phase()
		if m.state != waiting || !m.present() || m.reason != "" || phase != v1alpha2.Download && phase != v1alpha2.Apply || m.res.Status.Phase != "" {
			continue
		}
		if due := m.since().Add(silence); due.After(r.now) {
			r.wakeAt(due)
			continue
		}
		m.reason, m.message = v1alpha2.ReasonNoReport, "the node has a link and says nothing of the job: its edgecore may be too old for it"
		if phase == v1alpha2.Apply {
			r.silent++
		}
	}
}

// grantDownloads lets members fetch what they need, as many at a time as is sensible.
func (r *round) grantDownloads(fetch []*member, open bool) {
	limit := max(minDownloads, downloadAhead*r.job.concurrency)
	for _, m := range fetch {
		if m.phase() != v1alpha2.Download && m.phase() != v1alpha2.Apply {
			continue
		}
		if due := m.since().Add(slowDownload); due.After(r.now) {
			limit--
			r.wakeAt(due)
		}
	}
	for _, m := range fetch {
		loading := m.phase() == v1alpha2.Download
		switch {
		case !open:
			m.reason, m.message = v1alpha2.ReasonWindowClosed, "waits for window.download"
			if loading {
				r.grant(m, v1alpha2.Paused)
			}
		case !loading && limit > 0:
			limit--
			r.grant(m, v1alpha2.Download)
		case !loading:
			m.message = "waits for its turn to download"
		}
	}
}

// grantApply lets the members of the queue begin for which there are places and budget, and returns
// how many. One that waited longest is first, and a node that had its turn goes to the end.
func (r *round) grantApply(queue []*member, open bool) int {
	begun := 0
	free := r.job.concurrency - r.used
	if open && free > 0 {
		slices.SortStableFunc(queue, func(a, b *member) int {
			return cmp.Or(cmp.Compare(a.batch, b.batch), a.since().Compare(b.since()))
		})
	}
	var groups *budgetGroups
	for _, m := range queue {
		switch {
		case !open:
			m.reason, m.message = v1alpha2.ReasonWindowClosed, "waits for window.apply"
		case begun >= free:
			m.message = "waits for its turn"
		default:
			if groups == nil {
				groups = r.newBudgetGroups()
			}
			if why := groups.reserve(m.node); why != "" {
				m.reason, m.message = v1alpha2.ReasonDisruptionBudget, why
				break
			}
			begun++
			r.grant(m, v1alpha2.Apply)
			r.wakeAt(r.now.Add(r.job.timeout))
			continue
		}
		if phase := m.phase(); phase == v1alpha2.Apply || phase == v1alpha2.Paused {
			r.grant(m, v1alpha2.Download)
		}
	}
	return begun
}

// passOn takes the turn from members that have not accepted in time, for others that wait.
// Their places are given out in the next round.
func (r *round) passOn(others int) {
	for i := range r.members {
		m := &r.members[i]
		if others == 0 {
			return
		}
		if m.state == waiting && m.phase() == v1alpha2.Apply && m.present() && r.busy[m.name] == "" && !r.granted(m).After(r.now) {
			r.grant(m, v1alpha2.Download)
			others--
		}
	}
}

// budgetGroups has how many nodes of each group are unavailable.
type budgetGroups struct {
	budget *v1alpha2.DisruptionBudget
	groups map[string]*budgetGroup
}

type budgetGroup struct{ size, unavailable int }

// newBudgetGroups counts the groups of the job's budget. Without a budget it has none.
func (r *round) newBudgetGroups() *budgetGroups {
	g := &budgetGroups{budget: r.job.budget}
	if g.budget == nil {
		return g
	}
	g.groups = make(map[string]*budgetGroup)
	for i := range r.fleet.nodes {
		n := &r.fleet.nodes[i]
		group := g.groups[g.key(n)]
		if group == nil {
			group = new(budgetGroup)
			g.groups[g.key(n)] = group
		}
		group.size++
		if !n.present || r.disturbed[n.name] {
			group.unavailable++
		}
	}
	return g
}

// key names the group of a node.
func (g *budgetGroups) key(n *node) string {
	switch len(g.budget.GroupBy) {
	case 0:
		return ""
	case 1:
		return n.labels[g.budget.GroupBy[0]]
	}
	values := make([]string, len(g.budget.GroupBy))
	for i, label := range g.budget.GroupBy {
		values[i] = n.labels[label]
	}
	return strings.Join(values, "\x00")
}

// reserve counts a node as unavailable, or says why it may not become so.
func (g *budgetGroups) reserve(n *node) string {
	if g.budget == nil {
		return ""
	}
	group := g.groups[g.key(n)]
	after := group.unavailable + 1
	if g.budget.MaxUnavailable != nil {
		if most, err := intstr.GetScaledValueFromIntOrPercent(g.budget.MaxUnavailable, group.size, true); err != nil || after > most {
			return "waits for the disruption budget of its group: maxUnavailable"
		}
	}
	if g.budget.MinAvailable != nil {
		if least, err := intstr.GetScaledValueFromIntOrPercent(g.budget.MinAvailable, group.size, true); err != nil || group.size-after < least {
			return "waits for the disruption budget of its group: minAvailable"
		}
	}
	group.unavailable = after
	return ""
}
