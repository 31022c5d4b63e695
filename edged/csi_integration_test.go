//go:build linux

package edged_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/edgekit/edgekit/edged/csi"
	"github.com/edgekit/edgekit/edged/csi/csitest"
)

// CSIDriver returns a CSIDriver without attachRequired for every name.
func (c *cloud) CSIDriver(_ context.Context, name string) (*storagev1.CSIDriver, error) {
	d := &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{AttachRequired: new(bool)}}
	d.Name = name
	return d, nil
}

// TestRealCSI runs a pod on a volume of a CSI driver, restarts the agent and the driver,
// and has the next pod find the data.
func TestRealCSI(t *testing.T) {
	r := startReal(t)
	r.stop()
	folder, err := os.MkdirTemp("", "csi") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	registry := filepath.Join(folder, "reg")
	drivers, err := csi.New(csi.Config{Folder: registry, Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// A Driver runs once: that of a restart is another.
	newDriver := func() *csitest.Driver {
		driver, err := csitest.New(csitest.Config{Name: "folders.csi.example.com", Node: "edge", Folder: filepath.Join(folder, "driver"), Registry: registry})
		if err != nil {
			t.Fatal(err)
		}
		return driver
	}
	run := func(what func(context.Context) error) func() {
		ctx, cancel := context.WithCancel(context.Background()) // ends in what is returned
		done := make(chan error, 1)
		go func() { done <- what(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	r.cfg.CSI = drivers
	r.start()
	defer run(drivers.Run)()
	r.bindClaim("default", "data", &corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "folders.csi.example.com", VolumeHandle: "vol-1"}})
	first := withClaim(newPod("db-0", busybox("echo one >/data/kept; sleep 1000")), "data")
	first.UID = "first"
	r.put(first)
	// The pod comes before its driver, as after a start of the machine.
	r.wait(t, "a wait for the driver", realLimit, func() bool {
		return slices.Contains(r.events, `FailedMount: MountVolume.SetUp failed for volume "pv-data" : driver name folders.csi.example.com not found in the list of registered CSI drivers`)
	})
	stopDriver := run(newDriver().Run)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(first.UID) })
	r.stop()
	stopDriver()
	r.start() // adopts, without the driver
	r.del(first, 1)
	driver := newDriver()
	stopDriver = run(driver.Run)
	defer func() { stopDriver() }()
	r.wait(t, "gone", realLimit, func() bool { return r.gone[first.UID] })
	second := withClaim(newPod("db-0", busybox(`test "$(cat /data/kept)" = one && sleep 1000`)), "data")
	second.UID = "second"
	r.put(second)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(second.UID) })
	r.del(second, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[second.UID] })
	if text, err := os.ReadFile(filepath.Join(driver.Volume("vol-1"), "kept")); err != nil || string(text) != "one\n" {
		t.Errorf("the volume has %q, %v", text, err)
	}
}
