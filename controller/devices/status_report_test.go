package devices_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/hub"
)

func report(t testing.TB, value string) hub.Object {
	t.Helper()
	body, err := json.Marshal(v1beta1.DeviceStatusStatus{Status: schema.Status{
		State: "online", Twins: []schema.Twin{{PropertyName: "temperature", Reported: &schema.Value{Value: value}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return hub.Object{Key: statusKey, Body: body}
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		settle()
		write := w.Writers()["devicestatuses"]
		begin := time.Now()
		for i := range 6 {
			if err := write(t.Context(), "n", report(t, strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
			if got := w.status(t).Status.Twins[0].Reported.Value; got != strconv.Itoa(i) {
				t.Errorf("acknowledged %d with %s written", i, got)
			}
		}
		if took := time.Since(begin); took < 3900*time.Millisecond || took > 5*time.Second {
			t.Errorf("6 reports took %s: want two at once and then one a second", took)
		}
		if c := w.status(t).Status.Conditions; len(c) != 1 || c[0].Type != v1beta1.ConditionModelFound {
			t.Errorf("the cloud's own condition: %+v", c)
		}
		settle()
		before := len(*w.patches)
		if err := write(t.Context(), "n", report(t, "5")); err != nil || len(*w.patches) != before {
			t.Errorf("an equal report: %v, patches %q", err, (*w.patches)[before:])
		}
		if err := write(t.Context(), "n", report(t, "6")); err != nil {
			t.Fatal(err)
		}
		var patch struct{ Status map[string]json.RawMessage }
		if err := json.Unmarshal([]byte((*w.patches)[before]), &patch); err != nil || len(patch.Status) != 1 || patch.Status["twins"] == nil {
			t.Errorf("patch %s carries more than what changed", (*w.patches)[before])
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
				w.dyn.PrependReactor("get", "devices", func(clienttesting.Action) (bool, runtime.Object, error) {
					if now == nil {
						return true, nil, apierrors.NewNotFound(v1beta1.GroupVersion().WithResource("devices").GroupResource(), "boiler")
					}
					return true, toObject(now), nil
				})
				if err := write(t.Context(), "n", report(t, "2")); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
					t.Errorf("a report of the old node: %v", err)
				}
				if got := w.status(t).Status.Twins[0].Reported.Value; got != "1" {
					t.Errorf("the old node wrote %s", got)
				}
			})
		})
	}
}

// FuzzReport gives the writer what a broken or hostile edge may send. All inputs go to
// one controller: a new one for each would take a thousand times as long.
func FuzzReport(f *testing.F) {
	f.Add(report(f, "21").Body)
	f.Add([]byte(`{"extensions":{"a":[]},"conditions":[{"type":"ModelFound","status":"False"}],"observedGeneration":-1}`))
	f.Add([]byte(`{"twins":[null,{}],"extensions":7}`))
	w := startEvery(f, time.Nanosecond, boiler("n", "m"))
	write := w.Writers()["devicestatuses"]
	f.Fuzz(func(t *testing.T, raw []byte) {
		defer func() { // what the fake remembers of each call
			w.dyn.ClearActions()
			*w.patches = nil
		}()
		err := write(t.Context(), "n", hub.Object{Key: statusKey, Body: raw})
		if !json.Valid(raw) && !nodesync.Final(err) {
			t.Errorf("garbage gave %v", err)
		}
	})
}
