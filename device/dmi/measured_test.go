package dmi_test

import (
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// TestTimestamp has a mapper give the time when it read a value: it is kept and counts as the age, or
// it cannot be right and is counted.
func TestTimestamp(t *testing.T) {
	e := startEdge(t, memstore.New(), edgetest.SocketDir(t))
	rule := twin.Rule{StaleAfter: time.Hour}
	err := e.engine.Put(t.Context(), "plant/boiler", twin.Put{Properties: []twin.Declaration{
		{Name: "temperature", Type: "int", Rule: rule}, {Name: "target", Type: "int", Rule: rule},
	}})
	if err != nil {
		t.Fatal(err)
	}
	timed := func(name, value, at string) *v1beta1.Twin {
		return &v1beta1.Twin{PropertyName: name, Reported: &v1beta1.TwinProperty{Value: value, Metadata: map[string]string{"timestamp": at}}}
	}
	ago := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) }
	untimed := int64(0)
	for _, tt := range []struct {
		name, timestamp string
		kept            bool
		quality         twin.Quality
	}{
		{"now", ago(0), true, twin.Good},
		{"a while ago", ago(time.Minute), true, twin.Good},
		{"too long ago", ago(2 * time.Hour), true, twin.Stale},
		{"not said", "", false, twin.Good},
		{"tomorrow", ago(-24 * time.Hour), false, twin.Good},
		{"1970", "1", false, twin.Good},
		{"zero", "0", false, twin.Good},
		{"a date", "2026-11-30T22:00:00Z", false, twin.Good},
		{"nanoseconds", strconv.FormatInt(time.Now().UnixNano(), 10), false, twin.Good},
		{"a number of more than 64 bits", "99999999999999999999", false, twin.Good},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := e.client.ReportDeviceStatus(t.Context(), &v1beta1.ReportDeviceStatusRequest{
				DeviceName: "boiler", DeviceNamespace: "plant", ReportedDevice: &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{timed("temperature", "21", tt.timestamp)}},
			})
			if err != nil {
				t.Fatal(err)
			}
			list, err := e.engine.Get("plant/boiler", "temperature")
			if err != nil {
				t.Fatal(err)
			}
			want := int64(0)
			if tt.kept {
				want, _ = strconv.ParseInt(tt.timestamp, 10, 64)
			}
			if p := list[0]; p.Twin.Actual.Measured != want || p.Quality != tt.quality {
				t.Errorf("it is measured at %d and %s, want %d and %s", p.Twin.Actual.Measured, p.Quality, want, tt.quality)
			}
			if !tt.kept && tt.timestamp != "" {
				untimed++
			}
			if got := e.m.Stats().Untimed; got != untimed {
				t.Errorf("%d values had a time that was not kept, want %d", got, untimed)
			}
		})
	}
	// Of values that are stored one by one, since another one was refused, the times are kept too.
	at := ago(time.Minute)
	_, err = e.client.ReportDeviceStatus(t.Context(), &v1beta1.ReportDeviceStatusRequest{
		DeviceName: "boiler", DeviceNamespace: "plant", ReportedDevice: &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{timed("temperature", "22", at), timed("target", "hot", "x")}},
	})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v, want a refusal of target", err)
	}
	d, _ := e.engine.Device("plant/boiler")
	if got := d.Twins["temperature"].Actual; strconv.FormatInt(got.Measured, 10) != at || got.Value != "22" {
		t.Errorf("the value is %+v, want measured %s", got, at)
	}
	if got := e.m.Stats().Untimed; got != untimed {
		t.Errorf("%d values had a time that was not kept, want %d", got, untimed)
	}
}
