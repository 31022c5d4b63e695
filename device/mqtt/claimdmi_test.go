package mqtt_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/dmi"
	dmimapper "github.com/edgekit/edgekit/device/dmi/mapper"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestOneMapperWithDMI runs a mapper over MQTT and one over DMI for the same protocol: one drives the
// device, and the other follows when that one ends.
func TestOneMapperWithDMI(t *testing.T) {
	dir := edgetest.SocketDir(t)
	e := startEdge(t, memstore.New(), "tcp://127.0.0.1:0")
	socket := filepath.Join(dir, "dmi.sock")
	manager, err := dmi.New(dmi.Config{Engine: e.Engine, Store: memstore.New(), Socket: socket, Claims: e.topics, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	edgetest.Run(t, manager.Run)
	e.Put(t, "a/b", "suite")
	e.SetDesired(t, "a/b", "target", "20")
	overMQTT := startProgram(t, e.addr, "native")
	e.WaitActual(t, "a/b", "target", "20")

	link, err := dmimapper.New(dmimapper.Config{Name: "stranger", Protocol: "suite", Socket: filepath.Join(dir, "mapper.sock"), Edgecore: socket, Backoff: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	overDMI := &program{dev: new(devicetest.Device)}
	overDMI.dev.Set("temperature", "18.5")
	overDMI.dev.Set("target", "0")
	overDMI.mapper, err = device.New(device.Config{
		Protocol: "suite", New: func() device.Driver { return overDMI.dev }, Link: link, Timeout: 5 * time.Second, Backoff: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	overDMI.stop = edgetest.Run(t, overDMI.mapper.Run)
	if ids := overDMI.drives(t); len(ids) != 0 {
		t.Errorf("the mapper over DMI drives %v beside the one over MQTT", ids)
	}
	e.SetDesired(t, "a/b", "target", "21")
	e.WaitActual(t, "a/b", "target", "21")
	if overMQTT.dev.Values()["target"] != "21" || overDMI.dev.Opens() != 0 {
		t.Errorf("the device over MQTT has %v, the one over DMI was opened %d times", overMQTT.dev.Values(), overDMI.dev.Opens())
	}

	overMQTT.stop()
	e.SetDesired(t, "a/b", "target", "22")
	e.WaitActual(t, "a/b", "target", "22")
	if overDMI.dev.Values()["target"] != "22" || overMQTT.dev.Values()["target"] != "21" {
		t.Errorf("the device over DMI has %v, the one over MQTT %v", overDMI.dev.Values(), overMQTT.dev.Values())
	}

	overMQTT = startProgram(t, e.addr, "native")
	if ids := overMQTT.drives(t); len(ids) != 0 {
		t.Errorf("the mapper over MQTT drives %v beside the one over DMI", ids)
	}
	overDMI.stop()
	e.SetDesired(t, "a/b", "target", "23")
	e.WaitActual(t, "a/b", "target", "23")
	if overMQTT.dev.Values()["target"] != "23" || overDMI.dev.Values()["target"] != "22" {
		t.Errorf("the device over MQTT has %v, the one over DMI %v", overMQTT.dev.Values(), overDMI.dev.Values())
	}
	if ids := overMQTT.drives(t); !slices.Equal(ids, []string{"a/b"}) {
		t.Errorf("the mapper over MQTT drives %v", ids)
	}
}
