package devicesync_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// TestMapperConditions has the conditions that a mapper reports be in the DeviceStatus, beside
// the node's own, and those of the node's own types not.
func TestMapperConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{Store: memstore.New()}
		defer o.Close()
		o.down(t, "devicemodels", "plant/boiler-model", model)
		o.down(t, "devices", "plant/boiler", boiler(1, "45"))
		engine, stop := run(t, o)
		defer stop()
		time.Sleep(2 * time.Second)
		set := func(c twin.Condition) {
			t.Helper()
			if _, err := engine.Do(t.Context(), twin.Call{Device: "plant/boiler", Request: twin.SetConditions{Conditions: []twin.Condition{c}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		shown := func() (list []string) {
			s, _ := o.status(t, "plant/boiler")
			for _, c := range s.Conditions {
				list = append(list, fmt.Sprintf("%s=%s %s %q %v", c.Type, c.Status, c.Reason, c.Message, c.LastTransitionTime.IsZero()))
			}
			return list
		}
		set(twin.Condition{Type: "DesiredApplied", Reason: "NotTaken", Message: "target: the device has 20"})
		set(twin.Condition{Type: "DesiredValid", Reason: "Forged"})
		if got := fmt.Sprint(shown()); got != `[DesiredApplied=False NotTaken "target: the device has 20" false]` {
			t.Errorf("conditions are %s", got)
		}
		set(twin.Condition{Type: "DesiredApplied", Status: true, Reason: "Applied"})
		if got := fmt.Sprint(shown()); got != `[DesiredApplied=True Applied "" false]` {
			t.Errorf("conditions are %s", got)
		}
	})
}
