package devicespec_test

import (
	"testing"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
	"github.com/edgekit/edgekit/twin/history"
)

// TestRules has what a model and a device say of a property become the rule of its twin.
func TestRules(t *testing.T) {
	model := schema.DeviceModelSpec{Properties: []schema.ModelProperty{
		{Name: "target", Type: schema.TypeInt, AccessMode: schema.ReadWrite, Minimum: "10", Maximum: "80", DesiredBy: schema.DesiredByCloud},
		{Name: "temperature", Type: schema.TypeFloat, ReportAlways: true},
		{Name: "free", AccessMode: schema.ReadWrite, DesiredBy: schema.DesiredByBoth},
		{Name: "past", AccessMode: schema.ReadWrite, History: &schema.History{Values: 100, Duration: "24h"}},
		{Name: "wrong", AccessMode: schema.ReadWrite, History: &schema.History{Duration: "a day"}},
	}}
	for _, tt := range []struct {
		property schema.Property
		rule     twin.Rule
		within   time.Duration
	}{
		{schema.Property{Name: "target"}, twin.Rule{Minimum: "10", Maximum: "80", Authority: twin.Cloud}, 0},
		{schema.Property{Name: "temperature"}, twin.Rule{ReadOnly: true, ReportAlways: true}, 0},
		{schema.Property{Name: "free"}, twin.Rule{}, 0},
		{schema.Property{Name: "unknown"}, twin.Rule{NotInModel: true}, 0},
		{schema.Property{Name: "past"}, twin.Rule{History: history.Limit{Values: 100, Duration: 24 * time.Hour}}, 0},
		{schema.Property{Name: "wrong"}, twin.Rule{}, 0},
		{schema.Property{Name: "free", CollectCycle: 1000}, twin.Rule{StaleAfter: 30 * time.Second}, 30 * time.Second},
		{schema.Property{Name: "free", CollectCycle: 1000, ReportCycle: 60_000}, twin.Rule{StaleAfter: 3 * time.Minute}, 3 * time.Minute},
		// In nanoseconds, as in files for KubeEdge up to 1.17: 20 s.
		{schema.Property{Name: "free", CollectCycle: 20_000_000_000}, twin.Rule{StaleAfter: time.Minute}, time.Minute},
	} {
		put, err := devicespec.Declare(schema.DeviceSpec{Properties: []schema.Property{tt.property}}, model)
		if err != nil {
			t.Fatal(err)
		}
		if got := put.Properties[0].Rule; got != tt.rule || put.Member.ReportWithin != tt.within {
			t.Errorf("%+v: rule %+v within %v, want %+v within %v", tt.property, got, put.Member.ReportWithin, tt.rule, tt.within)
		}
	}
}

// TestCycles has a cycle in milliseconds, and in nanoseconds.
func TestCycles(t *testing.T) {
	for value, want := range map[int64]time.Duration{
		0: 0, 1: time.Millisecond, 86_400_000: 24 * time.Hour, // a day is the longest
		100_000_000: 100 * time.Millisecond, 10_000_000_000: 10 * time.Second,
	} {
		p := schema.Property{CollectCycle: value, ReportCycle: value}
		if p.Collect() != want || p.Report() != want {
			t.Errorf("%d: %v and %v, want %v", value, p.Collect(), p.Report(), want)
		}
	}
}
