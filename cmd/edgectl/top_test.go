package main

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

func TestPrintTop(t *testing.T) {
	at := func(second int64, cpu uint64) *statsapi.Summary {
		use := &statsapi.CPUStats{Time: metav1.NewTime(time.Unix(second, 0)), UsageCoreNanoSeconds: &cpu}
		memory := uint64(5 << 20)
		return &statsapi.Summary{
			Node: statsapi.NodeStats{NodeName: "gate-7", CPU: use},
			Pods: []statsapi.PodStats{{PodRef: statsapi.PodReference{Namespace: "ns", Name: "web", UID: "u"}, CPU: use, Memory: &statsapi.MemoryStats{WorkingSetBytes: &memory}}},
		}
	}
	var out strings.Builder
	if err := printTop(&out, at(10, 1e9), at(12, 2e9)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gate-7   500m   unknown", "ns       web   500m     5Mi"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestPath(t *testing.T) {
	for want, g := range map[string]getCmd{
		"/api/v1/namespaces/ns/pods":           {Resource: "po"},
		"/api/v1/pods":                         {Resource: "pods", All: true},
		"/api/v1/nodes":                        {Resource: "node"},
		"/api/v1/nodes/gate-7":                 {Resource: "node", Name: "gate-7"},
		"/api/v1/namespaces/ns/pods/web%2Flog": {Resource: "pods", Name: "web/log"},
		"/apis/devices.kubeedge.io/v1beta1/namespaces/ns/devices": {Resource: "devices"},
		"/api/v1/namespaces/ns/..%2F..%2Fsecrets":                 {Resource: "../../secrets"},
	} {
		g.Space = "ns"
		if got := g.path(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
