package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/fleetmetrics"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// fleet is a cache with one Node, which reports what the test says.
type fleet struct {
	mu     sync.Mutex
	report report
}

// report is what a node says of itself.
type report struct {
	full  int // percent of the store's disk
	stale int // twins
	ends  time.Time
}

// String is the text in the Node's condition.
func (r report) String() string {
	return fmt.Sprintf("the store's disk is %d%% full, the clock is 0s ahead, %d twins are stale, the certificate ends %s", r.full, r.stale, r.ends.UTC().Format(time.RFC3339))
}

var _ fleetmetrics.Nodes = (*fleet)(nil)

// Objects returns the Node.
func (f *fleet) Objects() []*corev1.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}
	n.Status.NodeInfo.KubeletVersion = "v1.37.2-edgekit-v0.1.0"
	n.Status.Conditions = []corev1.NodeCondition{
		{Type: nodelifecycle.ConditionConnected, Status: corev1.ConditionTrue},
		{Type: resources.ConditionDegraded, Status: corev1.ConditionFalse, Reason: resources.ReasonAsExpected, Message: f.report.String()},
	}
	return []*corev1.Node{n}
}

func (f *fleet) set(edit func(*fleet)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(f)
}

// healthy is a node without a trouble.
func healthy(f *fleet) {
	f.report = report{full: 40, ends: time.Now().Add(60 * 24 * time.Hour)}
}

// collector is the real one, over the Node and the links of a server.
func (f *fleet) collector(t *testing.T, server *hub.Server) prometheus.Collector {
	t.Helper()
	f.set(healthy)
	c, err := fleetmetrics.New(fleetmetrics.Config{
		Nodes: f, Stats: server.Stats, Every: -1, Extremes: server.Extremes,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// causes are what the Node reports.
func (f *fleet) causes() []cause {
	mend := func(*testing.T) { f.set(healthy) }
	return []cause{
		{
			[]string{"EdgekitNodeCertificatesNearExpiry", "EdgekitFleetStoreNearFull", "EdgekitTwinsStale"}, collectors,
			func(*testing.T) {
				f.set(func(f *fleet) {
					f.report = report{full: 95, stale: 3, ends: time.Now().Add(2 * time.Hour)}
				})
			}, mend,
		},
	}
}
