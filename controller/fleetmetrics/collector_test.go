package fleetmetrics_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/fleetmetrics"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// nodes are Nodes for a test, which count how often they are looked at.
type nodes struct {
	all   []*corev1.Node
	looks atomic.Int64
}

func (n *nodes) Objects() []*corev1.Node {
	n.looks.Add(1)
	return n.all
}

// node is a Node with a link in some state, a version and what it says of itself.
func node(name string, link corev1.ConditionStatus, version, reason, health string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.NodeInfo.KubeletVersion = version
	if link != "" {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: nodelifecycle.ConditionConnected, Status: link})
	}
	if health != "" {
		status := corev1.ConditionTrue
		if reason == resources.ReasonAsExpected {
			status = corev1.ConditionFalse
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: resources.ConditionDegraded, Status: status, Reason: reason, Message: health})
	}
	return n
}

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func TestCollector(t *testing.T) {
	health := func(fill, stale int, left time.Duration) string {
		return resources.Health{StoreFill: fill, TwinsStale: stale, Certificate: start.Add(left)}.String()
	}
	fleet := &nodes{all: []*corev1.Node{
		node("a", corev1.ConditionTrue, "v1.37.2-edgekit-v0.1.0", resources.ReasonAsExpected, health(40, 2, 1000*time.Hour)),
		node("b", corev1.ConditionTrue, "v1.37.2-edgekit-v0.2.0", resources.ReasonStoreNearlyFull, health(93, 1, 100*time.Hour)),
		node("c", corev1.ConditionFalse, "v1.37.2-edgekit-v0.1.0", resources.ReasonCertificateExpiring, health(1, 0, -time.Hour)),
		node("d", corev1.ConditionUnknown, "", "", ""),
		node("e", "", "v1.37.2-edgekit-v0.1.0", resources.ReasonAsExpected, "the store's disk is 9999% full"),
	}}
	now := start
	c, err := fleetmetrics.New(fleetmetrics.Config{
		Nodes: fleet, Now: func() time.Time { return now },
		Extremes: func() hub.Extremes { return hub.Extremes{Queued: 7, ClockSkew: 90 * time.Second} },
		Stats:    func() hub.Stats { return hub.Stats{Queued: map[hub.Class]int{hub.ClassState: 9, hub.ClassEvent: 1}} },
		Jobs: func() jobs.Counts {
			return jobs.Counts{Jobs: map[jobs.KindPhase]int{{Kind: "NodeUpgradeJob", Phase: "InProgress"}: 1}, Nodes: map[jobs.KindPhase]int{{Kind: "NodeUpgradeJob", Phase: "Pending"}: 3}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `
edgekit_fleet_backlog_messages{stat="max"} 7
edgekit_fleet_backlog_messages{stat="sum"} 10
edgekit_fleet_certificates_expiring{within="1h"} 1
edgekit_fleet_certificates_expiring{within="24h"} 1
edgekit_fleet_certificates_expiring{within="168h"} 2
edgekit_fleet_certificates_expiring{within="720h"} 2
edgekit_fleet_clock_skew_seconds{stat="max"} 90
edgekit_fleet_job_nodes{kind="NodeUpgradeJob",phase="Pending"} 3
edgekit_fleet_jobs{kind="NodeUpgradeJob",phase="InProgress"} 1
edgekit_fleet_nodes{state="connected"} 2
edgekit_fleet_nodes{state="disconnected"} 1
edgekit_fleet_nodes{state="unknown"} 2
edgekit_fleet_nodes_by_version{version="invalid"} 1
edgekit_fleet_nodes_by_version{version="v0.1.0"} 3
edgekit_fleet_nodes_by_version{version="v0.2.0"} 1
edgekit_fleet_nodes_degraded{reason="CertificateExpiring"} 1
edgekit_fleet_nodes_degraded{reason="ClockSkewed"} 0
edgekit_fleet_nodes_degraded{reason="StoreNearlyFull"} 1
edgekit_fleet_store_fill_ratio{stat="max"} 0.93
edgekit_fleet_twins_stale 3
`
	compare(t, c, want)
	for range 1000 {
		testutil.CollectAndCount(c)
	}
	if n := fleet.looks.Load(); n != 1 {
		t.Errorf("a flood of scrapes looked %d times at all nodes", n)
	}
	now = now.Add(11 * time.Second)
	fleet.all = nil
	testutil.CollectAndCount(c)
	if n := fleet.looks.Load(); n != 2 {
		t.Errorf("%d looks after 11 s", n)
	}
	if _, err := fleetmetrics.New(fleetmetrics.Config{}); err == nil || !strings.Contains(err.Error(), "Config.Nodes") {
		t.Errorf("without Nodes: %v", err)
	}
}

// compare compares all series, without help and type.
func compare(t *testing.T, c prometheus.Collector, want string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			got[fmt.Sprintf("%s %v", name, m.GetGauge().GetValue())] = true
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
		if !got[line] {
			t.Errorf("missing: %s", line)
		}
		delete(got, line)
	}
	for line := range got {
		t.Errorf("not wanted: %s", line)
	}
}

// TestAttackVersions: nodes that invent versions get no series of their own.
func TestAttackVersions(t *testing.T) {
	fleet := &nodes{}
	for i := range 5000 {
		fleet.all = append(fleet.all, node("n", corev1.ConditionTrue, fmt.Sprintf("v1.37.2-edgekit-v9.%d.0", i), "", ""))
	}
	for range 30 {
		fleet.all = append(fleet.all, node("n", corev1.ConditionTrue, "v1.37.2-edgekit-v0.1.0", "", ""))
	}
	for _, bad := range []string{"<script>", "v1\n2", strings.Repeat("9", 1<<20), "v1.37.2-edgekit-", `"} 1`} {
		fleet.all = append(fleet.all, node("bad", corev1.ConditionTrue, bad, "<b>", "<b>"))
	}
	c, err := fleetmetrics.New(fleetmetrics.Config{Nodes: fleet})
	if err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(c, "edgekit_fleet_nodes_by_version"); n > 22 {
		t.Errorf("%d versions have a series", n)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != "edgekit_fleet_nodes_by_version" {
			continue
		}
		for _, m := range f.GetMetric() {
			v, n := m.GetLabel()[0].GetValue(), m.GetGauge().GetValue()
			if total += n; v == "invalid" && n != 5 {
				t.Errorf("%v invalid versions", n)
			}
		}
	}
	if total != float64(len(fleet.all)) {
		t.Errorf("%v nodes are counted of %d", total, len(fleet.all))
	}
}

func TestDiscovery(t *testing.T) {
	a, b, forged := node("a", corev1.ConditionTrue, "", "", ""), node("b", corev1.ConditionTrue, "", "", ""), node("forged", corev1.ConditionTrue, "", "", "")
	a.Labels = map[string]string{kubeletproxy.RecordLabel: "10.0.0.5_20007", corev1.LabelTopologyZone: "hall-3"}
	b.Labels = map[string]string{kubeletproxy.RecordLabel: "fd00-0000-0000-0000-0000-0000-0000-0005_20008"}
	// What a node may write itself leads nowhere.
	forged.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.66"}}
	forged.Status.DaemonEndpoints.KubeletEndpoint.Port = 443
	d := fleetmetrics.Discovery{Nodes: &nodes{all: []*corev1.Node{b, forged, a}}}
	get := func(query string) (int, string) {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/sd"+query, nil))
		return w.Code, w.Body.String()
	}
	code, body := get("")
	want := `[{"targets":["10.0.0.5:20007"],"labels":{"__meta_edgekit_node":"a","__meta_edgekit_zone":"hall-3","__metrics_path__":"/metrics","__scheme__":"https","node":"a"}},` +
		`{"targets":["[fd00::5]:20008"],"labels":{"__meta_edgekit_node":"b","__metrics_path__":"/metrics","__scheme__":"https","node":"b"}}]`
	if strings.TrimSpace(body) != want || code != http.StatusOK {
		t.Errorf("%d: %s", code, body)
	}
	code, body = get("?path=/metrics/cadvisor")
	var targets []struct{ Labels map[string]string }
	if err := json.Unmarshal([]byte(body), &targets); err != nil || code != http.StatusOK || len(targets) != 2 || targets[0].Labels["__metrics_path__"] != "/metrics/cadvisor" {
		t.Errorf("%d: %s, %v", code, body, err)
	}
	if code, body := get("?path=/exec/a/b/c"); code != http.StatusBadRequest {
		t.Errorf("%d: %s", code, body)
	}
	d.Nodes = &nodes{}
	if _, body := get(""); strings.TrimSpace(body) != "[]" {
		t.Errorf("without nodes: %s", body)
	}
}

// Example shows the aggregates of a fleet of one node.
func Example() {
	c, err := fleetmetrics.New(fleetmetrics.Config{Nodes: &nodes{all: []*corev1.Node{node("edge-1", corev1.ConditionTrue, "v1.37.2-edgekit-v0.1.0", "", "")}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(testutil.CollectAndCount(c, "edgekit_fleet_nodes_by_version"))
	// Output: 1
}

// BenchmarkCollect looks at 100,000 nodes.
func BenchmarkCollect(b *testing.B) {
	fleet := &nodes{}
	text := resources.Health{StoreFill: 40, Certificate: start}.String()
	for i := range 100_000 {
		fleet.all = append(fleet.all, node(fmt.Sprint(i), corev1.ConditionTrue, "v1.37.2-edgekit-v0.1.0", resources.ReasonAsExpected, text))
	}
	c, err := fleetmetrics.New(fleetmetrics.Config{Nodes: fleet, Every: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		testutil.CollectAndCount(c)
	}
}
