package shutdowntest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/godbus/dbus/v5"
)

// ServeBus puts l on the message bus at address, such as "unix:path=/run/bus", under the
// names of systemd-logind and systemd, until ctx ends; then it returns nil. It calls ready
// when clients may come, with the function that announces a shutdown or its cancellation
// on the bus.
func ServeBus(ctx context.Context, address string, l *Logind, ready func(prepare func(down bool) error)) error {
	o := &busObject{l: l, sent: make(map[uint32]*os.File)}
	bus, err := dbus.Connect(address, dbus.WithOutgoingInterceptor(o.note), dbus.WithSerialGenerator(o))
	if err != nil {
		return fmt.Errorf("shutdowntest: %w", err)
	}
	defer o.close()
	defer bus.Close()
	const (
		object  = dbus.ObjectPath("/org/freedesktop/login1")
		manager = "org.freedesktop.login1.Manager"
	)
	calls := map[string]any{"Inhibit": o.inhibit, "Get": o.get, "KillUnit": o.killUnit}
	err = errors.Join(
		bus.ExportMethodTable(calls, object, manager), bus.ExportMethodTable(calls, object, "org.freedesktop.DBus.Properties"),
		bus.ExportMethodTable(calls, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"),
	)
	for _, name := range []string{"org.freedesktop.systemd1", "org.freedesktop.login1"} {
		if err == nil {
			_, err = bus.RequestName(name, dbus.NameFlagDoNotQueue)
		}
	}
	if err != nil {
		return fmt.Errorf("shutdowntest: %w", err)
	}
	ready(func(down bool) error { return bus.Emit(object, manager+".PrepareForShutdown", down) })
	<-ctx.Done()
	return nil
}

// busObject has the methods of logind and systemd on the bus. It also numbers the
// messages of its connection: so it learns when the reply with a file has been sent, and
// closes its own copy of the file.
type busObject struct {
	l  *Logind
	wg sync.WaitGroup

	mu     sync.Mutex
	serial uint32
	given  []*os.File          // that clients are about to get, in order
	sent   map[uint32]*os.File // by the serial of the reply
	reads  []*os.File
}

// GetSerial numbers a message.
func (o *busObject) GetSerial() uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.serial++
	return o.serial
}

// RetireSerial is called after a message was sent.
func (o *busObject) RetireSerial(serial uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := o.sent[serial]; f != nil {
		f.Close()
		delete(o.sent, serial)
	}
}

// note is called before a message is sent.
func (o *busObject) note(msg *dbus.Message) {
	if msg.Type != dbus.TypeMethodReply || len(msg.Body) != 1 {
		return
	}
	fd, ok := msg.Body[0].(dbus.UnixFD)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.given {
		if ok && f.Fd() == uintptr(fd) {
			o.sent[msg.Serial()] = f
		}
	}
}

// close ends all locks.
func (o *busObject) close() {
	o.mu.Lock()
	for _, f := range append(o.reads, o.given...) {
		f.Close()
	}
	o.mu.Unlock()
	o.wg.Wait()
}

// get reads a property.
func (o *busObject) get(_, property string) (dbus.Variant, *dbus.Error) {
	if property != "InhibitDelayMaxUSec" {
		return dbus.Variant{}, dbus.MakeFailedError(fmt.Errorf("no property %s", property))
	}
	return dbus.MakeVariant(uint64(o.l.delay().Microseconds())), nil
}

// inhibit takes a lock; it is held until the client closes the file, or ends.
func (o *busObject) inhibit(what, _, _, mode string) (dbus.UnixFD, *dbus.Error) {
	if what != "shutdown" || mode != "delay" {
		return 0, dbus.MakeFailedError(fmt.Errorf("want shutdown in mode delay, not %s in %s", what, mode))
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	o.mu.Lock()
	o.given, o.reads = append(o.given, w), append(o.reads, r)
	o.mu.Unlock()
	o.l.count(1)
	o.wg.Go(func() {
		_, _ = r.Read(make([]byte, 1)) // nothing is ever written
		o.l.count(-1)
	})
	return dbus.UnixFD(w.Fd()), nil
}

// killUnit is systemd's: SIGHUP has logind read its configuration again.
func (o *busObject) killUnit(unit, _ string, signal int32) *dbus.Error {
	if unit != "systemd-logind.service" || signal != 1 {
		return dbus.MakeFailedError(fmt.Errorf("signal %d to %s", signal, unit))
	}
	o.l.reload()
	return nil
}
