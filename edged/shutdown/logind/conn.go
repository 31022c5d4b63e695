package logind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/edgekit/edgekit/edged/shutdown"
)

// The names of logind and of systemd on the bus.
const (
	service = "org.freedesktop.login1"
	object  = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"

	systemd        = "org.freedesktop.systemd1"
	systemdObject  = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = "org.freedesktop.systemd1.Manager"
	unit           = "systemd-logind.service"
	sighup         = int32(1)
)

// signals is how many signals wait while the reader is busy.
const signals = 16

// inhibitLimit bounds the call that takes a lock.
const inhibitLimit = 5 * time.Second

// Dial connects to logind on the system's bus. ctx is for that alone.
func Dial(ctx context.Context) (shutdown.Logind, error) {
	return DialBus(ctx, "")
}

// DialBus connects to logind on the bus at address, such as "unix:path=/run/bus"; "" means
// the system's. ctx is for that alone.
func DialBus(ctx context.Context, address string) (shutdown.Logind, error) {
	ordered := dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()) // in their order
	dial := func() (*dbus.Conn, error) { return dbus.Dial(address, ordered) }
	if address == "" {
		dial = func() (*dbus.Conn, error) { return dbus.SystemBusPrivate(ordered) }
	}
	bus, err := dial()
	if err == nil {
		stop := context.AfterFunc(ctx, func() { bus.Close() })
		if err = bus.Auth(nil); err == nil {
			err = bus.Hello()
		}
		if !stop() {
			err = ctx.Err()
		}
		if err != nil {
			bus.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("shutdown/logind: connect to the message bus: %w", err)
	}
	return &conn{bus: bus}, nil
}

// conn is a connection to logind.
type conn struct{ bus *dbus.Conn }

func (c *conn) call(ctx context.Context, name string, args ...any) *dbus.Call {
	return c.bus.Object(service, object).CallWithContext(ctx, name, 0, args...)
}

// InhibitDelay reads the property InhibitDelayMaxUSec.
func (c *conn) InhibitDelay(ctx context.Context) (time.Duration, error) {
	var v dbus.Variant
	if err := c.call(ctx, "org.freedesktop.DBus.Properties.Get", manager, "InhibitDelayMaxUSec").Store(&v); err != nil {
		return 0, fmt.Errorf("shutdown/logind: read InhibitDelayMaxUSec: %w", err)
	}
	micros, ok := v.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("shutdown/logind: InhibitDelayMaxUSec is a %s: want a number", v.Signature())
	}
	return time.Duration(min(micros, 1<<40)) * time.Microsecond, nil
}

// Inhibit takes a lock of the mode delay. It is held while the file is open. The call is
// not cut when ctx ends: a file that came then would be lost, and the lock held.
func (c *conn) Inhibit(ctx context.Context) (io.Closer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inhibitLimit)
	defer cancel()
	var fd dbus.UnixFD
	if err := c.call(ctx, manager+".Inhibit", "shutdown", "edgecore", "edgecore ends the node's pods before the shutdown", "delay").Store(&fd); err != nil {
		return nil, fmt.Errorf("shutdown/logind: delay shutdowns: %w", err)
	}
	f := os.NewFile(uintptr(fd), "logind-inhibitor")
	if f == nil {
		return nil, errors.New("shutdown/logind: delay shutdowns: logind gave no file")
	}
	return f, nil
}

// Reload sends logind SIGHUP through systemd, as it documents.
func (c *conn) Reload(ctx context.Context) error {
	call := c.bus.Object(systemd, systemdObject).CallWithContext(ctx, systemdManager+".KillUnit", 0, unit, "all", sighup)
	if call.Err != nil {
		return fmt.Errorf("shutdown/logind: reload logind's configuration: %w", call.Err)
	}
	return nil
}

// Watch follows the signal PrepareForShutdown.
func (c *conn) Watch(ctx context.Context) (<-chan bool, error) {
	err := c.bus.AddMatchSignalContext(ctx, dbus.WithMatchInterface(manager), dbus.WithMatchMember("PrepareForShutdown"), dbus.WithMatchObjectPath(object))
	if err != nil {
		return nil, fmt.Errorf("shutdown/logind: follow shutdowns: %w", err)
	}
	raw := make(chan *dbus.Signal, signals)
	c.bus.Signal(raw)
	out := make(chan bool)
	go func() { // ends with the connection
		defer close(out)
		for s := range raw {
			if s.Name != manager+".PrepareForShutdown" || len(s.Body) == 0 {
				continue
			}
			down, ok := s.Body[0].(bool)
			if !ok {
				continue
			}
			select {
			case out <- down:
			case <-c.bus.Context().Done():
				return
			}
		}
	}()
	return out, nil
}

// Close ends the connection.
func (c *conn) Close() error { return c.bus.Close() }
