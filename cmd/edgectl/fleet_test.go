package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// pages is an API server that has lists, by path, and gives them in pages.
type pages struct {
	t     *testing.T
	lists map[string][]any
	other map[string]any // single objects

	mu      sync.Mutex
	largest map[string]int // the largest page that was given, by path
	asked   map[string]int
}

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if one, ok := p.other[r.URL.Path]; ok {
		_ = json.NewEncoder(w).Encode(one)
		return
	}
	items, ok := p.lists[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404, Message: r.URL.Path + " is not there"})
		return
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit == 0 {
		p.t.Errorf("%s is listed without a limit", r.URL)
		limit = len(items)
	}
	to := min(from+limit, len(items))
	p.mu.Lock()
	p.largest[r.URL.Path], p.asked[r.URL.Path] = max(p.largest[r.URL.Path], to-from), p.asked[r.URL.Path]+1
	p.mu.Unlock()
	kind := "List"
	switch {
	case strings.HasSuffix(r.URL.Path, "/nodes"):
		kind = "NodeList"
	case strings.HasSuffix(r.URL.Path, "/leases"):
		kind = "LeaseList"
	case strings.HasSuffix(r.URL.Path, "/events"):
		kind = "EventList"
	case strings.HasSuffix(r.URL.Path, "/pods"):
		kind = "PodList"
	}
	meta := map[string]any{"resourceVersion": "7"}
	if to < len(items) {
		meta["continue"] = strconv.Itoa(to)
	}
	group := "v1"
	if kind == "LeaseList" {
		group = "coordination.k8s.io/v1"
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": kind, "apiVersion": group, "metadata": meta, "items": items[from:to]})
}

func edgeNode(name string, link, ready corev1.ConditionStatus, since time.Time, more ...corev1.NodeCondition) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{nodelifecycle.RoleLabel: "", corev1.LabelTopologyZone: "oslo"}, CreationTimestamp: metav1.NewTime(since)}}
	n.Status.NodeInfo.KubeletVersion = "v1.37.2-edgekit-v1.2.3"
	if link != "" {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: nodelifecycle.ConditionConnected, Status: link, Reason: "Disconnected", LastTransitionTime: metav1.NewTime(since),
			Message: "the node's link to the cloud is down; it keeps its pods; cause: \x1b[2J no answer"})
	}
	n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeReady, Status: ready, LastTransitionTime: metav1.NewTime(since)})
	n.Status.Conditions = append(n.Status.Conditions, more...)
	return n
}

func record(node, holder string) coordinationv1.Lease {
	return coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: nodelifecycle.RecordName(node), Namespace: "edgekit-system",
		Annotations: map[string]string{nodelifecycle.HolderAnnotation: holder, nodelifecycle.SinceAnnotation: at(time.Hour).Format(time.RFC3339Nano)}}}
}

func nodeLease(node string, renewed time.Time) coordinationv1.Lease {
	micro := metav1.NewMicroTime(renewed)
	return coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: node, Namespace: "kube-node-lease"}, Spec: coordinationv1.LeaseSpec{RenewTime: &micro}}
}

// testFleet serves a fleet of four nodes, two objects a page.
func testFleet(t *testing.T) (*fleet, *pages) {
	t.Helper()
	pressed := corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Message: "full", LastTransitionTime: metav1.NewTime(at(time.Minute))}
	p := &pages{t: t, largest: make(map[string]int), asked: make(map[string]int), other: make(map[string]any), lists: map[string][]any{
		"/api/v1/nodes": {
			edgeNode("edge-1", corev1.ConditionTrue, corev1.ConditionTrue, at(time.Hour), pressed), edgeNode("edge-2", corev1.ConditionFalse, corev1.ConditionTrue, at(30*time.Minute)),
			edgeNode("edge-3", "", corev1.ConditionFalse, at(time.Hour)), edgeNode("edge-4", corev1.ConditionTrue, corev1.ConditionFalse, at(2*time.Hour)),
		},
		"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases": {nodeLease("edge-1", at(5*time.Second)), nodeLease("edge-2", at(10*time.Minute)), nodeLease("edge-4", at(8*time.Second))},
		"/apis/coordination.k8s.io/v1/namespaces/edgekit-system/leases":  {record("edge-1", "cc-a"), record("edge-2", "cc-b"), record("edge-4", "cc-a"), coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "other"}}},
		jobsBase + "nodeupgradejobs": {
			map[string]any{"metadata": map[string]any{"name": "done"}, "status": map[string]any{"phase": "Completed"}},
			map[string]any{"metadata": map[string]any{"name": "bad"}, "status": map[string]any{"phase": "Failure", "reason": "2 of 3 failed"}},
			map[string]any{"metadata": map[string]any{"name": "runs"}, "status": map[string]any{"phase": "InProgress"}},
		},
	}}
	return fleetFor(t, p, 2), p
}

// fleetFor reads from an API server that the handler is.
func fleetFor(t *testing.T, handler http.Handler, page int64) *fleet {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	f, err := newFleet(&rest.Config{Host: server.URL, QPS: -1}, "edgekit-system")
	if err != nil {
		t.Fatal(err)
	}
	f.page = page
	return f
}

func identities(context.Context) ([]nodeidentity.Claimed, error) {
	good := at(-60 * 24 * time.Hour)
	return []nodeidentity.Claimed{
		{Node: "edge-1", KeyHash: "a", Until: good}, {Node: "edge-2", KeyHash: "b", Until: at(time.Hour)}, {Node: "edge-3", KeyHash: "c"}, {Node: "edge-4", KeyHash: "d", Until: at(-time.Hour)},
		{Node: "edge-5", KeyHash: "e", Until: good}, {Node: "freed"}, {Node: "edge-6", KeyHash: "f", Waits: true}, {Node: "edge-1", KeyHash: "old", Revoked: at(time.Hour), Until: at(time.Hour)},
	}, nil
}

// TestFleetStatus: problems of nodes, certificates, cloudcores and jobs, read in pages.
func TestFleetStatus(t *testing.T) {
	f, served := testFleet(t)
	command := &statusCmd{Certificate: defaultCertificateWarning, SiteLabel: []string{"none", corev1.LabelTopologyZone}, Flags: printer.Flags{Output: printer.FormatTable}, Limit: 3}
	got, err := command.gather(t.Context(), f, identities, at(0))
	if err != nil {
		t.Fatal(err)
	}
	if got.Nodes != (nodeCounts{Total: 4, Connected: 2, Disconnected: 1, NeverConnected: 1, NotReady: 1, Unregistered: 1}) {
		t.Errorf("nodes %+v", got.Nodes)
	}
	if *got.Certificates != (certificateCounts{Valid: 2, Ending: 1, Expired: 1, Unknown: 1}) {
		t.Errorf("certificates %+v", got.Certificates)
	}
	if len(got.Sites) != 1 || got.Sites[0].Site != "oslo" || got.Versions["v1.37.2-edgekit-v1.2.3"] != 4 {
		t.Errorf("sites %+v, versions %v", got.Sites, got.Versions)
	}
	want := "cc-a 2 true, cc-b 1 false"
	var cores, problems []string
	for _, c := range got.Cloudcores {
		cores = append(cores, fmt.Sprint(c.Name, " ", c.Nodes, " ", c.Running))
	}
	if strings.Join(cores, ", ") != want {
		t.Errorf("cloudcores %v, want %s", cores, want)
	}
	for _, p := range got.Problems {
		problems = append(problems, p.Object+" "+p.Reason)
		if p.Next == "" {
			t.Errorf("no next command: %+v", p)
		}
	}
	wantProblems := "node/edge-4 NotReady, certificate/edge-2 CertificateExpired, node/edge-2 Disconnected, cloudcore/cc-b CloudcoreLost, certificate/edge-4 CertificateEnds, job/bad JobFailed, node/edge-5 NotRegistered, node/edge-6 WaitsForApproval, node/edge-3 NeverConnected, node/edge-1 DiskPressure"
	if strings.Join(problems, ", ") != wantProblems {
		t.Errorf("problems\n%s\nwant\n%s", strings.Join(problems, ", "), wantProblems)
	}
	for path, n := range served.largest {
		if n > 2 {
			t.Errorf("%s gave a page of %d", path, n)
		}
	}
	var out strings.Builder
	if err := command.printFleet(&out, got); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"and 7 more", "CLOUDCORE", "cc-b", "lost", "bad", "oslo"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("control characters in %q", out.String())
	}
}

// TestFleetWithoutRights: what a user may not read is said, and the rest is shown.
func TestFleetWithoutRights(t *testing.T) {
	f, served := testFleet(t)
	delete(served.lists, "/apis/coordination.k8s.io/v1/namespaces/edgekit-system/leases")
	command := &statusCmd{Certificate: defaultCertificateWarning}
	got, err := command.gather(t.Context(), f, func(context.Context) ([]nodeidentity.Claimed, error) { return nil, errors.New("forbidden") }, at(0))
	if err != nil || got.Certificates != nil || len(got.Unknown) != 3 || got.Nodes.Total != 4 {
		t.Errorf("%v %+v", err, got)
	}
	delete(served.lists, "/api/v1/nodes")
	if _, err := command.gather(t.Context(), f, identities, at(0)); err == nil {
		t.Error("no error without nodes")
	}
}

// TestFleetMemory: of 10,000 nodes only a few words are kept.
func TestFleetMany(t *testing.T) {
	f, served := testFleet(t)
	f.page = defaultPage
	var nodes []any
	for i := range 10_000 {
		nodes = append(nodes, edgeNode(fmt.Sprintf("edge-%05d", i), corev1.ConditionTrue, corev1.ConditionTrue, at(time.Hour)))
	}
	served.lists["/api/v1/nodes"] = nodes
	got, err := (&statusCmd{Certificate: defaultCertificateWarning}).gather(t.Context(), f, func(context.Context) ([]nodeidentity.Claimed, error) { return nil, nil }, at(0))
	if err != nil || got.Nodes.Connected != 10_000 || served.asked["/api/v1/nodes"] != 20 {
		t.Errorf("%v %+v in %d pages", err, got.Nodes, served.asked["/api/v1/nodes"])
	}
}

// TestDescribeNode: a connected node is asked for its own document; one that is away is not.
func TestDescribeNode(t *testing.T) {
	f, served := testFleet(t)
	served.other["/api/v1/nodes/edge-1"] = served.lists["/api/v1/nodes"][0]
	served.other["/api/v1/nodes/edge-2"] = served.lists["/api/v1/nodes"][1]
	served.other["/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/edge-1"] = nodeLease("edge-1", at(5*time.Second))
	served.other["/apis/coordination.k8s.io/v1/namespaces/edgekit-system/leases/edgekit-node-edge-1"] = record("edge-1", "cc-a")
	served.other["/api/v1/nodes/edge-1/proxy"+nodestate.Path] = goodStatus()
	served.lists["/api/v1/pods"] = []any{corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Status: corev1.PodStatus{Phase: corev1.PodPending, Reason: "Wait\x1b[2J"}}}
	served.lists["/api/v1/events"] = []any{corev1.Event{Reason: "Rebooted", InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: "edge-1"}, LastTimestamp: metav1.NewTime(at(time.Minute))}}
	served.lists[devicesBase()+"/devices"] = []any{
		map[string]any{"metadata": map[string]any{"name": "pump", "namespace": "shop"}, "spec": map[string]any{"nodeName": "edge-1"}},
		map[string]any{"metadata": map[string]any{"name": "lamp", "namespace": "shop"}, "spec": map[string]any{"nodeName": "edge-2"}},
	}
	served.lists[jobsBase+"nodejobresults"] = []any{map[string]any{"metadata": map[string]any{"name": "j"}, "spec": map[string]any{"kind": "NodeUpgradeJob", "job": "to-v2", "nodeName": "edge-1"}, "status": map[string]any{"phase": "RolledBack", "reason": "NotHealthy"}}}
	for i := range 5 {
		ended := map[string]any{"phase": "Successful", "finishedTime": at(time.Hour)}
		served.lists[jobsBase+"nodejobresults"] = append(served.lists[jobsBase+"nodejobresults"], map[string]any{"spec": map[string]any{"kind": "ImagePrePullJob", "job": fmt.Sprint("old-", i), "nodeName": "edge-1"}, "status": ended})
	}
	served.lists[jobsBase+"nodejobresults"][0].(map[string]any)["status"].(map[string]any)["finishedTime"] = at(time.Minute)
	waits := map[string]any{"phase": "Pending", "reason": "WaitingForConfirmation", "message": "confirm or refuse it at the machine"}
	served.lists[jobsBase+"nodejobresults"] = append(served.lists[jobsBase+"nodejobresults"], map[string]any{"spec": map[string]any{"kind": "NodeUpgradeJob", "job": "nightly", "nodeName": "edge-1"}, "status": waits})
	served.lists[devicesBase()+"/devicestatuses"] = []any{map[string]any{"metadata": map[string]any{"name": "pump", "namespace": "shop"}, "status": map[string]any{"state": "offline"}}}
	got, err := f.describe(t.Context(), "edge-1", identities, at(0))
	if err != nil {
		t.Fatal(err)
	}
	if got.Link != "connected" || got.Cloudcore != "cc-a" || got.Identity == nil || got.Identity.KeyHash != "a" || got.Pods == nil || len(got.Pods.NotReady) != 1 || got.Devices.States["offline"] != 1 ||
		got.Status == nil || got.Status.Link.Transport != "quic" || len(got.Events) != 1 || len(got.Unknown) != 0 {
		t.Errorf("%+v", got)
	}
	var out strings.Builder
	if err := (&describeCmd{}).printNode(&out, got); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cc-a", "quic", "shop", `Wait\x1b[2J`, "Rebooted", "DiskPressure", "containerd", "1 offline", "such as shop/pump", "NodeUpgradeJob RolledBack NotHealthy", "NodeUpgradeJob Pending WaitingForConfirmation confirm or refuse it at the machine"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("control characters in %q", out.String())
	}
	if len(got.Jobs) != 5 || got.Jobs[0].Job != "nightly" || got.Jobs[1].Job != "to-v2" {
		t.Errorf("jobs %+v", got.Jobs)
	}
	away, err := f.describe(t.Context(), "edge-2", identities, at(0))
	if err != nil || away.Link != "away" || !strings.Contains(away.LinkReason, "no answer") || away.Status != nil || len(away.Unknown) == 0 {
		t.Errorf("%v %+v", err, away)
	}
	if joined, err := f.describe(t.Context(), "edge-5", identities, at(0)); err != nil || joined.Link != "never" || joined.Identity == nil {
		t.Errorf("%v %+v", err, joined)
	}
	if _, err := f.describe(t.Context(), "nobody", identities, at(0)); err == nil || !strings.Contains(err.Error(), "edgectl node list") {
		t.Errorf("an unknown node: %v", err)
	}
}

// TestLongNodeName: a node whose record has a hash for its name is found.
func TestLongNodeName(t *testing.T) {
	name := strings.Repeat("edge-", 50) + "1"
	long := record(name, "cc-a")
	f := fleetFor(t, &pages{t: t, largest: make(map[string]int), asked: make(map[string]int), other: map[string]any{
		"/api/v1/nodes/" + name: edgeNode(name, corev1.ConditionFalse, corev1.ConditionTrue, at(time.Hour)),
		"/apis/coordination.k8s.io/v1/namespaces/edgekit-system/leases/" + long.Name: long,
	}, lists: map[string][]any{
		"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases": {nodeLease(name, at(5*time.Second))},
		"/apis/coordination.k8s.io/v1/namespaces/edgekit-system/leases":  {long},
	}}, 10)
	n, err := f.describe(t.Context(), name, identities, at(0))
	if err != nil || n.Cloudcore != "cc-a" {
		t.Errorf("%v, cloudcore %q", err, n.Cloudcore)
	}
	cores, err := f.cloudcores(t.Context(), nil, at(0))
	if err != nil || len(cores) != 1 || cores[0].Nodes != 1 || !cores[0].Running {
		t.Errorf("%v %+v", err, cores)
	}
	if cores, err := f.cloudcores(t.Context(), map[string]bool{name: true}, at(0)); err != nil || len(cores) != 0 {
		t.Errorf("without its node: %v %+v", err, cores)
	}
}
