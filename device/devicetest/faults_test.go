package devicetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// lineDevice is a device that answers each line with its number, until the test ends.
func lineDevice(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					fmt.Fprintln(conn, "value 7")
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// lineDriver is its driver, with faults.
type lineDriver struct {
	conn   net.Conn
	in     *bufio.Reader
	panics bool // on an answer that it does not understand
}

func (d *lineDriver) Open(ctx context.Context, dev device.Instance) (err error) {
	var config struct{ Address string }
	if err := dev.Spec.Protocol.Config.Decode(&config); err != nil {
		return err
	}
	if d.conn, err = new(net.Dialer).DialContext(ctx, "tcp", config.Address); err == nil {
		d.in = bufio.NewReader(d.conn)
	}
	return err
}

func (d *lineDriver) Read(ctx context.Context, _ string) (string, error) {
	if deadline, ok := ctx.Deadline(); ok {
		d.conn.SetDeadline(deadline)
	}
	fmt.Fprintln(d.conn, "?")
	line, err := d.in.ReadString('\n')
	if err != nil {
		d.conn.Close()
		return "", err
	}
	value, ok := strings.CutPrefix(strings.TrimSpace(line), "value ")
	if !ok {
		if d.panics {
			panic("not a value: " + line)
		}
		d.conn.Close()
		return "", errors.New("not a value")
	}
	return value, nil
}

func (d *lineDriver) Write(context.Context, string, string) error { return nil }
func (d *lineDriver) Close() error                                { d.conn.Close(); return nil }

func lineInstance(address string) device.Instance {
	return device.Instance{
		ID: "a/line",
		Spec: schema.DeviceSpec{
			Protocol:   schema.Protocol{Config: schema.Options(`{"address":"` + address + `"}`)},
			Properties: []schema.Property{{Name: "level"}},
		},
		Model: schema.DeviceModelSpec{Properties: []schema.ModelProperty{{Name: "level", Type: schema.TypeInt}}},
	}
}

func TestRunFaults(t *testing.T) {
	RunFaults(t, FaultConfig{New: func() device.Driver { return new(lineDriver) }, Device: lineDevice(t), Instance: lineInstance})
}

// TestRunFaultsFindsFaults has drivers that the suite must refuse.
func TestRunFaultsFindsFaults(t *testing.T) {
	for _, tt := range []struct {
		driver lineDriver
		fault  Fault
		want   string
	}{
		{lineDriver{panics: true}, Lie, "panicked"},
	} {
		o := outage{"", tt.fault, false}
		cfg := FaultConfig{New: func() device.Driver { d := tt.driver; return &d }, Device: lineDevice(t), Instance: lineInstance, Timeout: 2 * time.Second}
		if err := o.run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want an error with %q", tt.driver, err, tt.want)
		}
	}
}
