package probemetrics

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestProbeCounter(t *testing.T) {
	var f Counter
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}
	answered, errored, forget := f.Track(pod, "app", "Liveness")
	answered(true)
	answered(true)
	answered(false)
	errored()
	var out strings.Builder
	if err := f.Write(&out); err != nil {
		t.Fatal(err)
	}
	const labels = `prober_probe_total{container="app",namespace="ns",pod="web",pod_uid="u",probe_type="Liveness",result=`
	for _, want := range []string{labels + `"failed"} 1` + "\n", labels + `"successful"} 2` + "\n", labels + `"unknown"} 1` + "\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	forget()
	out.Reset()
	if err := f.Write(&out); err != nil || strings.Contains(out.String(), "app") {
		t.Errorf("%q %v", out.String(), err)
	}
}
