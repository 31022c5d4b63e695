package devicetest_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDevice(t *testing.T) {
	d := new(devicetest.Device)
	d.Set("a", "1")
	if err := d.Open(t.Context(), device.Instance{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Open(t.Context(), device.Instance{}); err == nil {
		t.Error("a second Open was taken")
	}
	if v, err := d.Read(t.Context(), "a"); v != "1" || err != nil {
		t.Errorf("Read: %q, %v", v, err)
	}
	want := errors.New("cable")
	d.Fail("Read", want)
	if _, err := d.Read(t.Context(), "a"); !errors.Is(err, want) {
		t.Errorf("Read: %v, want the failure", err)
	}
}
