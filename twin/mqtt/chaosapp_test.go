package mqtt_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
)

// follow runs an app that keeps what the topics say, and sets what is desired of the quiet
// device until loaded is closed: the next value when the device has the one before.
func (c *chaos) follow(ctx context.Context, group *errgroup.Group) (loaded chan struct{}) {
	b, err := chaosBus(c.link.url(), "app")
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := newReporter(b, quiet)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := b.Subscribe("$hw/events/#", c.observe); err != nil {
		c.t.Fatal(err)
	}
	connected := make(chan struct{}, 1)
	b.NotifyConnect(func() {
		select {
		case connected <- struct{}{}:
		default:
		}
	})
	loaded = make(chan struct{})
	arrived := make(chan struct{}, 1)
	c.arrived = arrived
	group.Go(func() error { return b.Run(ctx) })
	group.Go(func() error { // who connects again asks for what it has missed
		for {
			select {
			case <-connected:
				_ = b.Publish(ctx, bus.Message{Topic: topics.Node(chaosNode, topics.MembershipDetail), Payload: []byte(`{}`), QoS: bus.AtLeastOnce})
			case <-ctx.Done():
				return nil
			}
		}
	})
	group.Go(func() error {
		for value := 1; ; value++ {
			if err := r.report(ctx, quiet, "target", "expected", value); err != nil {
				return err
			}
			c.mu.Lock()
			c.desired = value
			c.mu.Unlock()
			for !c.reached(value) {
				select {
				case <-arrived:
				case <-ctx.Done():
					return nil
				}
			}
			select {
			case <-loaded:
				c.mu.Lock()
				c.set = true
				c.notifyLocked()
				c.mu.Unlock()
				return nil
			default:
			}
		}
	})
	return loaded
}

func (c *chaos) reached(value int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[quiet+" target actual"] == strconv.Itoa(value)
}

// observe keeps what a message says of twins.
func (c *chaos) observe(_ context.Context, m bus.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Topic == topics.Node(chaosNode, topics.Result(topics.MembershipDetail)) {
		var list topics.DeviceListMessage
		if json.Unmarshal(m.Payload, &list) == nil {
			for _, d := range list.Devices {
				for name, t := range d.Twin {
					c.seeLocked(d.ID, name, t)
				}
			}
		}
	}
	id, action, ok := topics.ParseDevice(m.Topic)
	if ok && action == topics.TwinDocument {
		var document topics.TwinDocumentMessage
		if json.Unmarshal(m.Payload, &document) == nil {
			for name, t := range document.Twin {
				c.seeLocked(id, name, t.Current)
			}
		}
	}
}

func (c *chaos) seeLocked(device, name string, t *topics.Twin) {
	if t == nil {
		t = &topics.Twin{}
	}
	c.seen[device+" "+name+" actual"], c.seen[device+" "+name+" expected"] = t.Actual.Text(), t.Expected.Text()
	c.notifyLocked()
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// settledLocked reports whether what the topics said leads to the last values.
func (c *chaos) settledLocked() bool {
	if !c.set {
		return false
	}
	for device := range c.accepted {
		for i := range properties {
			if c.seen[device+" "+property(i)+" actual"] != strconv.Itoa(c.until) {
				return false
			}
		}
	}
	last := strconv.Itoa(c.desired)
	return c.seen[quiet+" target actual"] == last && c.seen[quiet+" target expected"] == last
}

// compare reads the store, and counts what is lost, doubled, and not as the topics said.
func (c *chaos) compare() {
	dir := filepath.Join(c.dir, "store")
	store, err := badgerstore.Open(badgerstore.Config{Dir: dir, KeyFile: dir + ".key"})
	if err != nil {
		c.t.Fatal(err)
	}
	defer store.Close()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	<-engine.Ready()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	check := func(device, name, side string, accepted int) {
		d, _ := engine.Device(device)
		v, version := d.Twins[name].Actual, d.Twins[name].ActualVersion.Edge
		if side == "expected" {
			v, version = d.Twins[name].Expected, d.Twins[name].ExpectedVersion.Edge
		}
		value := 0
		if v != nil {
			value, _ = strconv.Atoi(v.Value) // no number is 0, which is lost
		}
		// Each value is another than the one before, so its version counts the updates.
		if n := accepted - min(value, int(version)); n > 0 {
			c.lost += n
			c.t.Errorf("%s %s %s is %d with version %d, accepted were %d", device, name, side, value, version, accepted)
		}
		if n := int(version) - value; n > 0 {
			c.doubled += n
			c.t.Errorf("%s %s %s is %d with version %d: updates were applied twice", device, name, side, value, version)
		}
		if seen := c.seen[device+" "+name+" "+side]; seen != strconv.Itoa(value) {
			c.inconsistent++
			c.t.Errorf("%s %s %s is %d, and the topics said %q", device, name, side, value, seen)
		}
	}
	for device, names := range c.accepted {
		for name, value := range names {
			check(device, name, "actual", value)
		}
	}
	check(quiet, "target", "expected", c.desired)
	check(quiet, "target", "actual", c.desired)
}
