package devices_test

import (
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
)

func (w world) deleteStatus(t *testing.T) {
	t.Helper()
	err := w.dyn.Resource(v1beta1.GroupVersion().WithResource("devicestatuses")).Namespace("plant").Delete(t.Context(), "boiler", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStatusDeleted: somebody deletes a DeviceStatus while nothing changes on the node.
// The cloudcore that has the node's session writes the node's last report again, and no
// other does.
func TestStatusDeleted(t *testing.T) {
	for name, here := range map[string]bool{"the node has its session here": true, "it has none": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, boiler("n", "m"), model("m"))
				if here {
					defer w.Source("n").Subscribe(func(hub.Key) {})()
				}
				settle()
				if err := w.Writers()["devicestatuses"](t.Context(), "n", report(t, "7")); err != nil {
					t.Fatal(err)
				}
				settle()
				for range 2 {
					w.deleteStatus(t)
					settle()
					st := w.status(t).Status
					if len(st.Conditions) != 1 || (len(st.Twins) == 1 && st.Twins[0].Reported.Value == "7") != here {
						t.Errorf("made again: %+v", st)
					}
				}
				// Another cloudcore, which has no report, was faster.
				w.deleteStatus(t)
				bare := &v1beta1.DeviceStatus{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "boiler", UID: "another"}}
				bare.SetGroupVersionKind(v1beta1.GroupVersion().WithKind("DeviceStatus"))
				w.create(t, "devicestatuses", bare)
				settle()
				if st := w.status(t).Status; len(st.Conditions) != 1 || (len(st.Twins) == 1) != here {
					t.Errorf("made again by another: %+v", st)
				}
			})
		})
	}
}

// TestForeignConditions: others set conditions on a DeviceStatus. Reports leave them as
// they are, and write the node's own only.
func TestForeignConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		settle()
		cond := func(kind, reason string) metav1.Condition {
			return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(time.Unix(1, 0))}
		}
		foreign := w.status(t)
		foreign.SetGroupVersionKind(v1beta1.GroupVersion().WithKind("DeviceStatus"))
		foreign.Status.Conditions = append(foreign.Status.Conditions, cond("example.com/Calibrated", "ByLab"))
		w.update(t, "devicestatuses", foreign)
		say := func(conditions ...metav1.Condition) []string {
			t.Helper()
			obj := report(t, "7")
			var status v1beta1.DeviceStatusStatus
			if err := json.Unmarshal(obj.Body, &status); err != nil {
				t.Fatal(err)
			}
			status.Conditions = conditions
			var err error
			if obj.Body, err = json.Marshal(status); err != nil {
				t.Fatal(err)
			}
			if err := w.Writers()["devicestatuses"](t.Context(), "n", obj); err != nil {
				t.Fatal(err)
			}
			settle()
			var out []string
			for _, c := range w.status(t).Status.Conditions {
				out = append(out, c.Type+" "+c.Reason)
			}
			slices.Sort(out)
			return out
		}
		want := []string{"DesiredValid Valid", "ModelFound ModelFound", "Own Old", "example.com/Calibrated ByLab"}
		if got := say(cond("DesiredValid", "Valid"), cond("example.com/Calibrated", "Old"), cond("ModelFound", "Old"), cond("Own", "Old")); !slices.Equal(got, want) {
			t.Errorf("conditions %q, want %q", got, want)
		}
		if got := say(); !slices.Equal(got, []string{want[1], want[3]}) {
			t.Errorf("without its own %q, want %q and %q", got, want[1], want[3])
		}
	})
}
