package console

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/utils/third_party/forked/golang/btree"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// jobIndex has all fleet jobs, newest first, and what each node did in each of them.
type jobIndex struct {
	rows *table[jobs.Job]

	mu      sync.Mutex
	going   map[string]int                                   // jobs that have not ended, by kind
	results map[string]*btree.BTree[*v1alpha2.NodeJobResult] // by uid of the job, in the order of their nodes
}

func newJobIndex() *jobIndex {
	return &jobIndex{rows: newTable(map[string]order[jobs.Job]{"created": jobOrder()}), going: make(map[string]int), results: make(map[string]*btree.BTree[*v1alpha2.NodeJobResult])}
}

func jobOrder() order[jobs.Job] {
	return order[jobs.Job]{
		less: func(a, b *jobs.Job) bool {
			return cmp.Or(b.Meta.CreationTimestamp.Compare(a.Meta.CreationTimestamp.Time), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Meta.Name, b.Meta.Name)) < 0
		},
		cursor: func(j *jobs.Job) cursor {
			return cursor{Value: j.Meta.CreationTimestamp.UTC().Format(time.RFC3339Nano), Namespace: j.Kind, Name: j.Meta.Name}
		},
		pivot: func(c cursor) *jobs.Job {
			j := &jobs.Job{Kind: c.Namespace}
			j.Meta.Name = c.Name
			j.Meta.CreationTimestamp.Time, _ = time.Parse(time.RFC3339Nano, c.Value) // a bad one is after all
			return j
		},
	}
}

func resultOrder() order[v1alpha2.NodeJobResult] {
	return order[v1alpha2.NodeJobResult]{
		less: func(a, b *v1alpha2.NodeJobResult) bool {
			return cmp.Or(strings.Compare(a.Spec.NodeName, b.Spec.NodeName), strings.Compare(a.Name, b.Name)) < 0
		},
		cursor: func(r *v1alpha2.NodeJobResult) cursor { return cursor{Value: r.Spec.NodeName, Name: r.Name} },
		pivot: func(c cursor) *v1alpha2.NodeJobResult {
			r := new(v1alpha2.NodeJobResult)
			r.Spec.NodeName, r.Name = c.Value, c.Name
			return r
		},
	}
}

func (x *jobIndex) jobChanged(change jobs.JobChange) {
	x.rows.replace(change.Old, change.New)
	x.mu.Lock()
	defer x.mu.Unlock()
	if change.Old != nil && !change.Old.Finished() {
		x.going[change.Old.Kind]--
	}
	if change.New != nil && !change.New.Finished() {
		x.going[change.New.Kind]++
	}
}

func (x *jobIndex) resultChanged(change cache.Change[*v1alpha2.NodeJobResult]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := change.Old; old != nil && x.results[old.Spec.JobUID] != nil {
		x.results[old.Spec.JobUID].Delete(old)
		if x.results[old.Spec.JobUID].Len() == 0 {
			delete(x.results, old.Spec.JobUID)
		}
	}
	if now := change.New; now != nil {
		if x.results[now.Spec.JobUID] == nil {
			x.results[now.Spec.JobUID] = btree.New(treeDegree, resultOrder().less)
		}
		x.results[now.Spec.JobUID].ReplaceOrInsert(now)
	}
}

// active counts the jobs of some kinds that have not ended.
func (x *jobIndex) active(kinds map[string]bool) (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for kind := range kinds {
		n += x.going[kind]
	}
	return n
}

// resultsOf returns the results of a job as they are now.
func (x *jobIndex) resultsOf(uid string) *btree.BTree[*v1alpha2.NodeJobResult] {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.results[uid] == nil {
		return btree.New(treeDegree, resultOrder().less)
	}
	return x.results[uid].Clone()
}

// find returns a job by its kind and name. There are few jobs.
func (x *jobIndex) find(kind, name string) *jobs.Job {
	var found *jobs.Job
	x.rows.snapshot("created").Ascend(func(j *jobs.Job) bool {
		if j.Kind == kind && j.Meta.Name == name {
			found = j
		}
		return found == nil
	})
	return found
}

// jobItem is a job in a list.
type jobItem struct {
	Kind    string           `json:"kind"`
	Name    string           `json:"name"`
	Phase   string           `json:"phase"`
	Reason  string           `json:"reason,omitempty"`
	Message string           `json:"message,omitempty"`
	Total   int32            `json:"total"`
	Done    int32            `json:"done"`
	Failed  int32            `json:"failed"`
	Counts  jobNodeCounts    `json:"counts"`
	Paused  bool             `json:"paused"`
	Created string           `json:"created,omitempty"`
	Ended   string           `json:"ended,omitempty"`
	Actions []string         `json:"actions"` // what the user may do and what makes sense now
	Nodes   *pageOf[jobNode] `json:"nodes,omitempty"`
}

type jobNodeCounts struct {
	Pending    int32 `json:"pending"`
	InProgress int32 `json:"inProgress"`
	Successful int32 `json:"successful"`
	Failed     int32 `json:"failed"`
	Away       int32 `json:"away"`
}

// jobNode is what one node did in a job.
type jobNode struct {
	Node    string `json:"node"`
	Phase   string `json:"phase"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Version string `json:"version,omitempty"`
	Time    string `json:"time,omitempty"`
}

func newJobItem(j *jobs.Job, may bool) jobItem {
	n := j.Status.Nodes
	item := jobItem{
		Kind: j.Kind, Name: j.Meta.Name, Phase: cmp.Or(string(j.Status.Phase), string(v1alpha2.JobInit)),
		Reason: summary.Shorten(j.Status.Reason, maxText), Message: summary.Shorten(j.Status.Message, maxMessage),
		Total: n.Total, Done: n.Successful, Failed: n.Failed, Counts: jobNodeCounts{n.Pending, n.InProgress, n.Successful, n.Failed, n.Away},
		Paused: j.Paused, Created: stamp(j.Meta.CreationTimestamp.Time), Actions: []string{},
	}
	if j.Status.CompletionTime != nil {
		item.Ended = stamp(j.Status.CompletionTime.Time)
	}
	if may && !j.Finished() && !j.Cancel {
		if j.Paused {
			item.Actions = append(item.Actions, "resume", "cancel")
		} else {
			item.Actions = append(item.Actions, "pause", "cancel")
		}
	}
	return item
}

func phaseOf(r *v1alpha2.NodeJobResult) string {
	return cmp.Or(string(r.Status.Phase), string(v1alpha2.NodePending))
}

func newJobNode(r *v1alpha2.NodeJobResult) jobNode {
	n := jobNode{
		Node: r.Spec.NodeName, Phase: phaseOf(r), Reason: summary.Shorten(r.Status.Reason, maxText),
		Message: summary.Shorten(r.Status.Message, maxMessage), Version: summary.Shorten(r.Status.CurrentVersion, maxText),
	}
	if at := cmp.Or(r.Status.ObservedFinishedTime, r.Status.ObservedAcceptedTime, r.Spec.PhaseTime); at != nil {
		n.Time = stamp(at.Time)
	}
	return n
}

func jobsRight(verb, resource, name string) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: verb, Group: v1alpha2.Group, Version: v1alpha2.GroupVersion().Version, Resource: resource, Name: name}
}

// kinds returns the kinds of jobs about which the user has a right; none where jobs are off.
func (s *Server) kinds(ctx context.Context, w who, verb, name string) (map[string]bool, error) {
	kinds := make(map[string]bool)
	if s.cfg.Jobs == nil {
		return kinds, nil
	}
	for _, kind := range []string{v1alpha2.KindNodeUpgradeJob, v1alpha2.KindImagePrePullJob, v1alpha2.KindConfigUpdateJob} {
		ok, err := s.may(ctx, w, jobsRight(verb, jobs.ResourceOf(kind), name))
		if err != nil {
			return nil, err
		}
		if ok {
			kinds[kind] = true
		}
	}
	return kinds, nil
}

func (s *Server) listJobs(q *request) (any, error) {
	o, err := parseList(q.URL.Query(), "created")
	if err != nil {
		return nil, err
	}
	after, err := decodeCursor(o.values.Get("cursor"), sortName("created", o.desc))
	if err != nil {
		return nil, err
	}
	if s.cfg.Jobs == nil {
		return pageOf[jobItem]{Items: []jobItem{}}, nil
	}
	see, err := s.kinds(q.Context(), q.who, "list", "")
	if err != nil {
		return nil, err
	}
	if len(see) == 0 {
		return nil, denied(q.who, jobsRight("list", v1alpha2.NodeUpgradeJobs, ""))
	}
	change, err := s.kinds(q.Context(), q.who, "patch", "")
	if err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	rows, next, total, err := s.jobs.rows.page(q.Context(), query[jobs.Job]{order: "created", desc: o.desc, after: after, limit: o.limit, keep: func(j *jobs.Job) bool {
		return see[j.Kind] && (o.search == "" || strings.Contains(j.Meta.Name, o.search))
	}})
	if err != nil {
		return nil, err
	}
	page := pageOf[jobItem]{Items: make([]jobItem, 0, len(rows)), Next: next, Total: total}
	for _, j := range rows {
		page.Items = append(page.Items, newJobItem(j, change[j.Kind]))
	}
	return page, nil
}

// jobOf returns the job of a request that the user may read.
func (s *Server) jobOf(q *request) (*jobs.Job, error) {
	kind, name := q.PathValue("kind"), q.PathValue("name")
	resource := jobs.ResourceOf(kind)
	if resource == "" || s.cfg.Jobs == nil {
		return nil, fail(http.StatusNotFound, "there is no such kind of jobs, or this cloudcore has no part in jobs")
	}
	if err := s.must(q.Context(), q.who, jobsRight("get", resource, name)); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	j := s.jobs.find(kind, name)
	if j == nil {
		return nil, fail(http.StatusNotFound, "there is no job of this name")
	}
	return j, nil
}

func (s *Server) job(q *request) (any, error) {
	o, err := parseList(q.URL.Query(), "node")
	if err != nil {
		return nil, err
	}
	after, err := decodeCursor(o.values.Get("cursor"), sortName("node", o.desc))
	if err != nil {
		return nil, err
	}
	j, err := s.jobOf(q)
	if err != nil {
		return nil, err
	}
	may, err := s.may(q.Context(), q.who, jobsRight("patch", jobs.ResourceOf(j.Kind), j.Meta.Name))
	if err != nil {
		return nil, err
	}
	item := newJobItem(j, may)
	see, err := s.may(q.Context(), q.who, jobsRight("list", v1alpha2.NodeJobResults, ""))
	if err != nil || !see {
		return item, err
	}
	find := query[v1alpha2.NodeJobResult]{order: "node", desc: o.desc, after: after, limit: o.limit}
	if phase := o.values.Get("phase"); o.search != "" || phase != "" {
		find.keep = func(r *v1alpha2.NodeJobResult) bool {
			return strings.Contains(r.Spec.NodeName, o.search) && (phase == "" || phase == phaseOf(r))
		}
	}
	rows, next, total, err := pageOfTree(q.Context(), s.jobs.resultsOf(string(j.Meta.UID)), resultOrder(), find)
	if err != nil {
		return nil, err
	}
	item.Nodes = &pageOf[jobNode]{Items: make([]jobNode, 0, len(rows)), Next: next, Total: total}
	for _, r := range rows {
		item.Nodes.Items = append(item.Nodes.Items, newJobNode(r))
	}
	return item, nil
}

// changeJob pauses, resumes or cancels a job, with the user's own token.
func (s *Server) changeJob(q *request) (any, error) {
	patch, err := jobPatch(q.PathValue("action"))
	if err != nil {
		return nil, err
	}
	j, err := s.jobOf(q)
	if err != nil {
		return nil, err
	}
	if j.Finished() {
		return nil, fail(http.StatusConflict, "the job has ended: make a new one")
	}
	gv := v1alpha2.GroupVersion()
	answer, err := s.upstream.do(q.Context(), q.token, call{
		method: http.MethodPatch, path: []string{"apis", gv.Group, gv.Version, jobs.ResourceOf(j.Kind), j.Meta.Name},
		query: url.Values{"fieldManager": {"edgekit-console"}}, patch: patch,
	})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // so that the connection is used again
	s.log.Info("a user changed a job in the console", "user", q.user.Username, "kind", j.Kind, "job", j.Meta.Name, "action", q.PathValue("action"))
	var spec struct {
		Spec struct {
			Paused *bool `json:"paused"`
			Cancel *bool `json:"cancel"`
		} `json:"spec"`
	}
	_ = json.Unmarshal(patch, &spec) // it was written here
	now := *j
	if spec.Spec.Paused != nil {
		now.Paused = *spec.Spec.Paused
	}
	now.Cancel = now.Cancel || spec.Spec.Cancel != nil
	return newJobItem(&now, true), nil
}

// jobPatch returns the merge patch of an action.
func jobPatch(action string) ([]byte, error) {
	switch action {
	case "pause":
		return []byte(`{"spec":{"paused":true}}`), nil
	case "resume":
		return []byte(`{"spec":{"paused":false}}`), nil
	case "cancel":
		return []byte(`{"spec":{"cancel":true}}`), nil
	case "confirm":
		return nil, fail(http.StatusConflict, "a job with requireConfirmation waits for somebody at the machine: run 'edgectl confirm' on the node")
	}
	return nil, fail(http.StatusNotFound, "the action must be one of %s", strings.Join(slices.Sorted(slices.Values([]string{"pause", "resume", "cancel", "confirm"})), ", "))
}
