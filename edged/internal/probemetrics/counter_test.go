package probemetrics

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestProbeCounter(t *testing.T) {
	var f Counter
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}
	count := f.Track(pod, "app", "Liveness")
	count.Answered(true)
	count.Answered(true)
	count.Answered(false)
	count.Errored()
	count.Asked(time.Second)
	count.Asked(2 * time.Second)
	pod.UID = "next" // a pod of the same name: its durations are added
	f.Track(pod, "app", "Liveness").Asked(time.Second)
	var out strings.Builder
	if err := f.Write(&out); err != nil {
		t.Fatal(err)
	}
	const labels = `prober_probe_total{container="app",namespace="ns",pod="web",pod_uid="u",probe_type="Liveness",result=`
	for _, want := range []string{labels + `"failed"} 1` + "\n", labels + `"successful"} 2` + "\n", labels + `"unknown"} 1` + "\n",
		`prober_probe_duration_seconds_sum{container="app",namespace="ns",pod="web",probe_type="Liveness"} 4` + "\n",
		`prober_probe_duration_seconds_count{container="app",namespace="ns",pod="web",probe_type="Liveness"} 3` + "\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	next := f.Track(pod, "app", "Liveness")
	count.Forget()
	next.Forget()
	out.Reset()
	if err := f.Write(&out); err != nil || strings.Contains(out.String(), "app") {
		t.Errorf("%q %v", out.String(), err)
	}
}
