package devices_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/devices"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/hub"
)

func report(t testing.TB, value string) hub.Object {
	t.Helper()
	return reportOf(t, v1beta1.DeviceStatusStatus{Status: schema.Status{
		State: "online", Twins: []schema.Twin{{PropertyName: "temperature", Reported: &schema.Value{Value: value}}},
	}})
}

func reportOf(t testing.TB, status v1beta1.DeviceStatusStatus) hub.Object {
	t.Helper()
	body, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	return hub.Object{Key: statusKey, Body: body}
}

// TestReports: reports are acknowledged at once. The newest is written, at most one a second.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		defer w.Source("n").Subscribe(func(hub.Key) {})()
		settle()
		write := w.Writers()["devicestatuses"]
		before, begin := w.count(), time.Now()
		for i := range 35 { // for 7 s
			if err := write(t.Context(), "n", report(t, strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
			<-time.After(200 * time.Millisecond)
		}
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("the node waited: %s", took)
		}
		settle()
		writes := w.since(before, "devicestatuses")
		if n := len(writes); n < 7 || n > 9 {
			t.Errorf("%d writes in 7 s", n)
		}
		for i := 1; i < len(writes); i++ {
			if d := writes[i].at.Sub(writes[i-1].at); d < time.Second {
				t.Errorf("two writes in %s", d)
			}
		}
		st := w.status(t).Status
		if len(st.Twins) != 1 || st.Twins[0].Reported.Value != "34" || len(st.Conditions) != 1 || st.Conditions[0].Type != v1beta1.ConditionModelFound {
			t.Errorf("status %+v", st)
		}
		d, err := w.dyn.Resource(v1beta1.GroupVersion().WithResource("devices")).Namespace("plant").Get(t.Context(), "boiler", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var device v1beta1.Device
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object, &device); err != nil {
			t.Fatal(err)
		}
		if s := device.Status; s.State != "online" || s.Values != "temperature=34" || s.LastSeen.IsZero() {
			t.Errorf("summary %+v", s)
		}
		before = w.count()
		if err := write(t.Context(), "n", report(t, "34")); err != nil {
			t.Fatal(err)
		}
		settle()
		if after := w.count(); after != before {
			t.Errorf("an equal report made %d writes", after-before)
		}
		<-time.After(time.Minute)
		if err := write(t.Context(), "n", report(t, "34")); err != nil {
			t.Fatal(err)
		}
		settle()
		if all := w.since(before, ""); len(all) != 1 || all[0].sub != "status" || all[0].resource != "devices" {
			t.Errorf("an equal report after a minute made writes %+v, want that of lastSeen", all)
		}
	})
}

func TestReportsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		write := w.Writers()["devicestatuses"]
		if err := write(t.Context(), "other", report(t, "1")); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("report by another node: %v", err)
		}
		if err := write(t.Context(), "n", hub.Object{Key: statusKey, Body: []byte("{")}); !errors.Is(err, &hub.Error{Code: hub.CodeInvalid}) {
			t.Errorf("garbage: %v", err)
		}
		gone := hub.Object{Key: hub.Key{Resource: "devicestatuses", Namespace: "plant", Name: "gone"}, Body: []byte("{}")}
		if err := write(t.Context(), "n", gone); err != nil {
			t.Errorf("report about a device that is gone: %v", err)
		}
	})
}

// TestReportOfAMovedDevice: a Device moves to another node while the watch is late. The
// old node can write nothing more.
func TestReportOfAMovedDevice(t *testing.T) {
	for name, now := range map[string]*v1beta1.Device{"moved": boiler("other", "m"), "gone": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, boiler("n", "m"), model("m"))
				settle()
				write := w.Writers()["devicestatuses"]
				if err := write(t.Context(), "n", report(t, "1")); err != nil {
					t.Fatal(err)
				}
				settle()
				w.dyn.PrependReactor("get", "devices", func(clienttesting.Action) (bool, runtime.Object, error) {
					if now == nil {
						return true, nil, apierrors.NewNotFound(v1beta1.GroupVersion().WithResource("devices").GroupResource(), "boiler")
					}
					return true, toObject(now), nil
				})
				if err := write(t.Context(), "n", report(t, "2")); err != nil {
					t.Errorf("a report of the old node: %v", err)
				}
				settle()
				if got := w.status(t).Status.Twins[0].Reported.Value; got != "1" {
					t.Errorf("the old node wrote %s", got)
				}
			})
		})
	}
}

// TestOlderThanAnother: a node's session is at another cloudcore now, which has written a
// newer report. The last report that this one received is dropped.
func TestOlderThanAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		settle()
		end := w.Source("n").Subscribe(func(hub.Key) {})
		write := w.Writers()["devicestatuses"]
		for _, value := range []string{"1", "2"} { // 2 has to wait a second
			if err := write(t.Context(), "n", report(t, value)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		end()
		other := w.status(t)
		other.SetGroupVersionKind(v1beta1.GroupVersion().WithKind("DeviceStatus"))
		other.Status.Twins[0].Reported.Value = "3"
		other.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "edgekit-device-reports", Operation: "Apply", Time: &metav1.Time{Time: time.Now().Add(time.Second)}}}
		other.ResourceVersion = "5000"
		w.update(t, "devicestatuses", other)
		settle()
		if got := w.status(t).Status.Twins[0].Reported.Value; got != "3" {
			t.Errorf("the older report %s replaced the newer one", got)
		}
	})
}

// TestReturnsFromAnother: a node's session moves to another cloudcore and comes back. The
// values of before, which the other one has replaced meanwhile, are written again.
func TestReturnsFromAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		settle()
		write := w.Writers()["devicestatuses"]
		end := w.Source("n").Subscribe(func(hub.Key) {})
		if err := write(t.Context(), "n", report(t, "1")); err != nil {
			t.Fatal(err)
		}
		settle()
		end()
		other := w.status(t)
		other.SetGroupVersionKind(v1beta1.GroupVersion().WithKind("DeviceStatus"))
		other.Status.Twins[0].Reported.Value = "3"
		other.ResourceVersion = "5000"
		w.update(t, "devicestatuses", other)
		settle()
		defer w.Source("n").Subscribe(func(hub.Key) {})()
		if err := write(t.Context(), "n", report(t, "1")); err != nil {
			t.Fatal(err)
		}
		settle()
		if got := w.status(t).Status.Twins[0].Reported.Value; got != "1" {
			t.Errorf("the DeviceStatus has %s, the node reported 1", got)
		}
	})
}

// TestOfflineNode: a node's link is cut before its last report is written. It is written.
func TestOfflineNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		settle()
		end := w.Source("n").Subscribe(func(hub.Key) {})
		write := w.Writers()["devicestatuses"]
		for _, value := range []string{"1", "2"} {
			if err := write(t.Context(), "n", report(t, value)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		end()
		settle()
		if got := w.status(t).Status.Twins[0].Reported.Value; got != "2" {
			t.Errorf("written is %s", got)
		}
		if keys := w.Resend("n"); !slices.Equal(keys, []hub.Key{statusKey}) {
			t.Errorf("a new session asks for %v", keys)
		}
	})
}

func (w world) events(t *testing.T) []string {
	t.Helper()
	list, err := w.kube.CoreV1().Events("plant").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return a.FirstTimestamp.Compare(b.FirstTimestamp.Time) })
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Type+" "+e.Reason)
	}
	return out
}

// TestTooLarge: the values of a device are too large for one object. All that fits is stored,
// with the state, and a condition and an event say what is not.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		defer w.Source("n").Subscribe(func(hub.Key) {})()
		settle()
		write := w.Writers()["devicestatuses"]
		large := v1beta1.DeviceStatusStatus{Status: schema.Status{State: "online", Twins: []schema.Twin{{PropertyName: "small", Reported: &schema.Value{Value: "7"}}}}}
		for i := range 30 {
			large.Twins = append(large.Twins, schema.Twin{PropertyName: "s" + strconv.Itoa(i), Reported: &schema.Value{Value: strings.Repeat("x", 65000)}})
		}
		for range 3 {
			if err := write(t.Context(), "n", reportOf(t, large)); err != nil {
				t.Fatal(err)
			}
			settle()
		}
		st := w.status(t).Status
		c := apimeta.FindStatusCondition(st.Conditions, v1beta1.ConditionValuesStored)
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != devices.ReasonTooLarge || !strings.Contains(c.Message, "s0") || c.LastTransitionTime.Year() < 2000 {
			t.Errorf("condition %+v", c)
		}
		raw, _ := json.Marshal(st)
		if len(raw) > 1_000_000 || st.State != "online" || len(st.Twins) != 31 || st.Twins[0].Reported.Value != "7" {
			t.Errorf("stored %d bytes, state %s, %d twins", len(raw), st.State, len(st.Twins))
		}
		if err := write(t.Context(), "n", report(t, "1")); err != nil {
			t.Fatal(err)
		}
		settle()
		if c := w.status(t).Status.Conditions; len(c) != 1 {
			t.Errorf("conditions when all fits again: %+v", c)
		}
		if got := w.events(t); !slices.Equal(got, []string{"Warning ValuesNotStored"}) {
			t.Errorf("events %q", got)
		}
	})
}

// TestRefused: the API server refuses what a node reports. The state is stored all the same.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		settle()
		w.dyn.PrependReactor("patch", "devicestatuses", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if strings.Contains(string(a.(clienttesting.PatchAction).GetPatch()), `"twins"`) {
				return true, nil, apierrors.NewInvalid(v1beta1.GroupVersion().WithKind("DeviceStatus").GroupKind(), "boiler", nil)
			}
			return false, nil, nil
		})
		if err := w.Writers()["devicestatuses"](t.Context(), "n", report(t, "1")); err != nil {
			t.Fatal(err)
		}
		settle()
		st := w.status(t).Status
		if c := apimeta.FindStatusCondition(st.Conditions, v1beta1.ConditionValuesStored); c == nil || c.Reason != devices.ReasonRefused || st.State != "online" {
			t.Errorf("status %+v", st)
		}
	})
}

// TestRefusedCondition: the API server refuses a condition that a node reports. It is left
// out, and the rest is stored.
func TestRefusedCondition(t *testing.T) {
	for _, bad := range []metav1.Condition{
		{Type: "Calibrated", Status: metav1.ConditionFalse},
		{Type: "not a type", Status: metav1.ConditionFalse, Reason: "Old"},
		{Type: "Calibrated", Status: metav1.ConditionFalse, Reason: "not a reason"},
		{Type: "Calibrated", Status: "Perhaps", Reason: "Old"},
		{Type: "Calibrated", Status: metav1.ConditionFalse, Reason: "Old", ObservedGeneration: -1},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, boiler("n", "m"), model("m"))
			settle()
			w.dyn.PrependReactor("patch", "devicestatuses", func(a clienttesting.Action) (bool, runtime.Object, error) {
				if strings.Contains(string(a.(clienttesting.PatchAction).GetPatch()), `"type":"`+bad.Type) {
					return true, nil, apierrors.NewInvalid(v1beta1.GroupVersion().WithKind("DeviceStatus").GroupKind(), "boiler", nil)
				}
				return false, nil, nil
			})
			status := v1beta1.DeviceStatusStatus{Status: schema.Status{State: "online"}, Conditions: []metav1.Condition{bad}}
			if err := w.Writers()["devicestatuses"](t.Context(), "n", reportOf(t, status)); err != nil {
				t.Fatal(err)
			}
			settle()
			st := w.status(t).Status
			if c := apimeta.FindStatusCondition(st.Conditions, v1beta1.ConditionValuesStored); c == nil || c.Reason != devices.ReasonRefused || st.State != "online" {
				t.Errorf("%+v: status %+v", bad, st)
			}
		})
	}
}

// TestEvents: a user learns from events what happens to a device, and a device that comes and
// goes for ever makes few of them.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		settle()
		say := func(state string, conditions ...metav1.Condition) {
			t.Helper()
			st := v1beta1.DeviceStatusStatus{Status: schema.Status{State: state}, Conditions: conditions}
			if err := w.Writers()["devicestatuses"](t.Context(), "n", reportOf(t, st)); err != nil {
				t.Fatal(err)
			}
			settle()
		}
		bad := metav1.Condition{Type: "DesiredValid", Status: metav1.ConditionFalse, Reason: "OutOfRange", Message: "target: 900 is above 80", LastTransitionTime: metav1.Now()}
		say("online")
		say("offline")
		say("online")
		say("online", bad)
		say("online", bad)
		say("online", bad, metav1.Condition{Type: "DesiredApplied", Status: metav1.ConditionFalse, Reason: "ReadBack", LastTransitionTime: metav1.Now()},
			metav1.Condition{Type: "Enabled", Status: metav1.ConditionFalse, Reason: "Disabled", LastTransitionTime: metav1.Now()})
		want := []string{"Warning Offline", "Normal Online", "Warning DesiredRefused", "Warning DesiredNotApplied"}
		if got := w.events(t); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		for range 100 {
			say("offline")
			say("online")
		}
		if n := len(w.events(t)); n > 20 {
			t.Errorf("%d events in %d s", n, 400)
		}
	})
}

// FuzzReport gives the writer what a broken or hostile edge may send. All inputs go to
// one controller: a new one for each would take a thousand times as long.
func FuzzReport(f *testing.F) {
	f.Add(report(f, "21").Body)
	f.Add([]byte(`{"extensions":{"a":[]},"conditions":[{"type":"ModelFound","status":"False"}],"observedGeneration":-1}`))
	f.Add([]byte(`{"twins":[null,{}],"extensions":7}`))
	w := startWith(f, devices.Config{Every: time.Nanosecond, WritesPerSecond: -1}, boiler("n", "m"))
	write := w.Writers()["devicestatuses"]
	f.Fuzz(func(t *testing.T, raw []byte) {
		defer w.dyn.ClearActions() // what the fake remembers of each call
		err := write(t.Context(), "n", hub.Object{Key: statusKey, Body: raw})
		if !json.Valid(raw) && !nodesync.Final(err) {
			t.Errorf("garbage gave %v", err)
		}
	})
}
