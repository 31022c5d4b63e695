package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/controller/internal/cache"
	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// resultName is the name of a node's result. It has a hash of the job's uid and the node, so
// that no two results share one.
func resultName(kind, job, uid, node string) string {
	sum := sha256.Sum256([]byte(uid + "/" + node))
	name := nodejobs.Key(kind, job) + "." + node
	name = strings.TrimRight(name[:min(len(name), 240)], ".-")
	return name + "." + hex.EncodeToString(sum[:4])
}

// item is one result.
type item struct {
	res *v1alpha2.NodeJobResult // shared, and never written to
	// version is the resource version of the last change of the spec, or of the node's end:
	// other changes of the status do not concern the node.
	version string
}

// final reports that the node itself has said that it has ended.
func (i *item) final() bool { return i.res.Status.Reported && i.res.Status.Phase.Final() }

// index has all results by job and by node, as this cloudcore knows them: from its watch and
// from its own writes, whichever is newer.
type index struct {
	mu     sync.Mutex
	byJob  map[string]map[string]*item // by uid of the job and node
	byNode map[string]map[string]*item // by node and uid of the job
}

func newIndex() *index {
	return &index{byJob: make(map[string]map[string]*item), byNode: make(map[string]map[string]*item)}
}

// put stores a result that is newer than what is there. It returns the item and the one
// before; both are nil for one that is not newer.
func (x *index) put(res *v1alpha2.NodeJobResult) (now, before *item) {
	x.mu.Lock()
	defer x.mu.Unlock()
	uid, node := res.Spec.JobUID, res.Spec.NodeName
	old := x.byJob[uid][node]
	now = &item{res: res, version: res.ResourceVersion}
	if old != nil {
		if cache.Compare(res.ResourceVersion, old.res.ResourceVersion) <= 0 {
			return nil, nil
		}
		if old.res.UID == res.UID && old.res.Generation == res.Generation && old.final() == now.final() {
			now.version = old.version
		}
	}
	if x.byJob[uid] == nil {
		x.byJob[uid] = make(map[string]*item)
	}
	if x.byNode[node] == nil {
		x.byNode[node] = make(map[string]*item)
	}
	x.byJob[uid][node], x.byNode[node][uid] = now, now
	return now, old
}

// remove drops a result that is gone, unless another has taken its place.
func (x *index) remove(res *v1alpha2.NodeJobResult) (removed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	uid, node := res.Spec.JobUID, res.Spec.NodeName
	old := x.byJob[uid][node]
	if old == nil || old.res.UID != res.UID {
		return false
	}
	delete(x.byJob[uid], node)
	if len(x.byJob[uid]) == 0 {
		delete(x.byJob, uid)
	}
	delete(x.byNode[node], uid)
	if len(x.byNode[node]) == 0 {
		delete(x.byNode, node)
	}
	return true
}

// get returns the result of a job and node; nil if there is none.
func (x *index) get(uid, node string) *item {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byJob[uid][node]
}

// results returns the results of a job by node.
func (x *index) results(uid string) map[string]*v1alpha2.NodeJobResult {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make(map[string]*v1alpha2.NodeJobResult, len(x.byJob[uid]))
	for node, i := range x.byJob[uid] {
		all[node] = i.res
	}
	return all
}

// failed counts the nodes of a job that reported that they failed.
func (x *index) failed(uid string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for _, i := range x.byJob[uid] {
		if i.final() && isFailed(i.res.Status.Phase) {
			n++
		}
	}
	return n
}

// node returns the results of a node.
func (x *index) node(name string) []*item {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Values(x.byNode[name]))
}

// nodesOf returns the nodes that have a result of a job.
func (x *index) nodesOf(uid string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.byJob[uid]))
}
