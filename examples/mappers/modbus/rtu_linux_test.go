package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/examples/mappers/internal/mappertest"
	"github.com/edgekit/edgekit/examples/mappers/modbus/internal/simulator"
)

// openPTY returns one end of a pseudo terminal, and the path of the other.
func openPTY(t *testing.T) (*os.File, string) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no pseudo terminals: ", err)
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, fmt.Sprintf("/dev/pts/%d", n)
}

// TestSerialLine drives two slaves on one serial line. A third does not answer.
func TestSerialLine(t *testing.T) {
	_, _, dev := startBoiler(t, nil)
	master, path := openPTY(t)
	hold, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0) // or reading fails while the driver has it closed
	if err != nil {
		t.Fatal(err)
	}
	slaves := simulator.New(1000)
	var serving sync.WaitGroup
	serving.Go(func() { _ = slaves.ServeRTU(master, 1, 2) }) // it ends when the line is closed
	t.Cleanup(func() {
		master.Close()
		hold.Close()
		serving.Wait()
	})
	var devices []device.Instance
	for n := 1; n <= 3; n++ {
		d := dev
		d.ID = "plant/boiler-" + strconv.Itoa(n)
		d.Spec = *dev.Spec.DeepCopy()
		d.Spec.Protocol.Config = options(t, connection{CommunicateMode: "RTU", SerialPort: path, BaudRate: 115200, SlaveID: n, Timeout: 500})
		if n == 3 { // it costs the line's time
			d.Spec.Properties = d.Spec.Properties[:1]
		}
		slaves.SetHolding(uint8(n), 2, 0, uint16(100+n))
		slaves.SetInput(uint8(n), 0, 0x41ac, 0)
		slaves.SetDiscrete(uint8(n), 3, true)
		devices = append(devices, d)
	}
	g := mappertest.NewGateway(t, config(), devices...)
	for n := 1; n <= 2; n++ {
		id := devices[n-1].ID
		g.WaitActual(id, "energy", strconv.Itoa(100+n))
		g.WaitActual(id, "temperature", "21.5")
		g.WaitActual(id, "alarm", "true")
		g.SetDesired(id, "target", strconv.Itoa(40+n))
		g.SetDesired(id, "pump", "true")
		g.Wait(func() bool { return slaves.Holding(uint8(n), 0) == uint16(40+n) }, func() string { return "the register does not follow" })
		g.WaitActual(id, "pump", "true")
	}
	g.WaitState(devices[2].ID, device.Offline)
	if got := g.Actual(devices[2].ID, "target"); got != "" {
		t.Errorf("the slave that does not answer has the value %q", got)
	}
}
