package client_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// halting is a storage of a machine that loses its power.
type halting struct {
	*memory
	off  atomic.Bool   // nothing is written any more
	gone chan struct{} // is closed when the machine is
}

func (h *halting) Apply(ctx context.Context, changes []broker.Record) error {
	if h.off.Load() {
		<-h.gone // nobody hears that it was not written
		return nil
	}
	return h.memory.Apply(ctx, changes)
}

// TestBrokerLosesPower publishes and reads with QoS 2 while the broker loses its power again and
// again: each message comes once.
func TestBrokerLosesPower(t *testing.T) {
	const crashes, each = 6, 60
	address := bustest.Address(t)
	disk := &memory{data: map[string][]byte{}}
	run := func() (stop func()) {
		h := &halting{memory: disk, gone: make(chan struct{})}
		b, err := broker.New(broker.Config{Address: address, Storage: h})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		select {
		case <-b.Ready():
		case err := <-ended:
			t.Fatal(err)
		}
		return sync.OnceFunc(func() {
			h.off.Store(true)
			cancel()
			hubtest.Until(t, "the connections have ended", func() bool { return b.Stats().Clients == 0 })
			disk = h.copy()
			close(h.gone)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	stop := run()
	defer func() { stop() }()
	reader, writer := startApp(t, address, "reader"), startApp(t, address, "writer")
	for crash := range crashes {
		name := fmt.Sprint(crash, "-")
		writer.publish(t, name, each, bus.ExactlyOnce)
		hubtest.Until(t, "some have come", func() bool { return reader.has(name, each/(crash%3+2)) })
		stop()
		stop = run()
	}
	for crash := range crashes {
		hubtest.Until(t, fmt.Sprint("all before crash ", crash), func() bool { return reader.has(fmt.Sprint(crash, "-"), each) })
	}
	writer.publish(t, "last-", 1, bus.ExactlyOnce)
	hubtest.Until(t, "the last", func() bool { return reader.has("last-", 1) })
	if doubled := reader.doubled(""); doubled > 0 {
		t.Errorf("%d messages of QoS 2 came twice", doubled)
	}
}
