package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// maxNodes is how many nodes one request reads: the least that servers must allow.
const maxNodes = 32

// driver is the device.Driver of one OPC UA server, or of a part of one.
type driver struct {
	client   *opcua.Client
	interval time.Duration
	points   device.Visitors[*point]
}

var (
	_ device.BatchReader = (*driver)(nil)
	_ device.Subscriber  = (*driver)(nil)
)

// Open connects, with a secure channel and a session.
func (d *driver) Open(ctx context.Context, dev device.Instance) error {
	var c connection
	if err := dev.Spec.Protocol.Config.Decode(&c); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return fmt.Errorf("protocol.configData: %w", err)
	}
	d.points = device.NewVisitors(dev, func(p schema.Property) (*point, error) { return newPoint(&dev, p) })
	d.interval = time.Duration(c.PublishInterval) * time.Millisecond
	if d.interval == 0 {
		d.interval = 500 * time.Millisecond
	}
	options, err := c.options(ctx)
	if err != nil {
		return err
	}
	client, err := opcua.NewClient(c.URL, options...) // not the endpoint's URL, which may not be reachable from here
	if err != nil {
		return err
	}
	if err := client.Connect(ctx); err != nil {
		return errors.Join(err, ignoreClosed(client.Close(ctx)))
	}
	d.client = client
	return nil
}

// ignoreClosed drops the error of closing what is closed.
func ignoreClosed(err error) error {
	if errors.Is(err, ua.StatusBadServerNotConnected) {
		return nil
	}
	return err
}

// Read reads one property.
func (d *driver) Read(ctx context.Context, property string) (string, error) {
	r, err := device.ReadOne(ctx, d, property)
	return r.Value, err
}

// ReadMany reads properties with few requests.
func (d *driver) ReadMany(ctx context.Context, properties []string) (map[string]device.Reading, error) {
	readings := make(map[string]device.Reading, len(properties))
	var names []string
	points := make(map[string]*point, len(properties))
	for _, name := range properties {
		if p, err := d.points.Of(name); err != nil {
			readings[name] = device.Reading{Err: err}
		} else {
			names, points[name] = append(names, name), p
		}
	}
	for part := range slices.Chunk(names, maxNodes) {
		request := &ua.ReadRequest{TimestampsToReturn: ua.TimestampsToReturnNeither}
		for _, name := range part {
			request.NodesToRead = append(request.NodesToRead, &ua.ReadValueID{NodeID: points[name].id, AttributeID: ua.AttributeIDValue})
		}
		answer, err := d.client.Read(ctx, request)
		if err == nil && len(answer.Results) != len(part) {
			err = fmt.Errorf("the server answered %d values, want %d", len(answer.Results), len(part))
		}
		if err != nil {
			return nil, err
		}
		for n, name := range part {
			var r device.Reading
			r.Value, r.Err = text(answer.Results[n], points[name].typ)
			readings[name] = r
		}
	}
	return readings, nil
}

// Write sets a property, with the type that the server has for it.
func (d *driver) Write(ctx context.Context, property, value string) error {
	p, err := d.points.Of(property)
	if err != nil {
		return err
	}
	now, err := d.client.Read(ctx, &ua.ReadRequest{NodesToRead: []*ua.ReadValueID{{NodeID: p.id, AttributeID: ua.AttributeIDValue}}})
	if err != nil {
		return err
	}
	if len(now.Results) != 1 || now.Results[0].Value == nil {
		return fmt.Errorf("property %s: the server does not say of what type it is", property)
	}
	v, err := variant(value, now.Results[0].Value.Type())
	if err != nil {
		return fmt.Errorf("property %s: %w", property, err)
	}
	answer, err := d.client.Write(ctx, &ua.WriteRequest{NodesToWrite: []*ua.WriteValue{{
		NodeID: p.id, AttributeID: ua.AttributeIDValue,
		Value: &ua.DataValue{EncodingMask: ua.DataValueValue, Value: v},
	}}})
	switch {
	case err != nil:
		return err
	case len(answer.Results) != 1:
		return fmt.Errorf("the server answered %d results, want 1", len(answer.Results))
	case answer.Results[0] != ua.StatusOK:
		return fmt.Errorf("property %s: the server answered: %w", property, answer.Results[0])
	}
	return nil
}

// Subscribe has the server send changes.
func (d *driver) Subscribe(ctx context.Context, changed func(property, value string)) error {
	points := maps.Collect(d.points.All())
	names := slices.Sorted(maps.Keys(points))
	if len(names) == 0 {
		<-ctx.Done()
		return nil
	}
	notifications := make(chan *opcua.PublishNotificationData, 64)
	sub, err := d.client.Subscribe(ctx, &opcua.SubscriptionParameters{Interval: d.interval}, notifications)
	if err != nil {
		return err
	}
	defer d.unsubscribe(ctx, sub, notifications)
	var items []*ua.MonitoredItemCreateRequest
	for n, name := range names {
		items = append(items, opcua.NewMonitoredItemCreateRequestWithDefaults(points[name].id, ua.AttributeIDValue, uint32(n)))
	}
	if _, err := sub.Monitor(ctx, ua.TimestampsToReturnNeither, items...); err != nil { // a node that is refused is read all the same
		return err
	}
	alive := time.NewTicker(time.Second)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-alive.C:
			if state := d.client.State(); state != opcua.Connected {
				return fmt.Errorf("the connection is %s", state)
			}
		case n := <-notifications:
			if n.Error != nil {
				return n.Error
			}
			change, ok := n.Value.(*ua.DataChangeNotification)
			if !ok {
				continue
			}
			for _, item := range change.MonitoredItems {
				if int(item.ClientHandle) >= len(names) {
					continue
				}
				name := names[item.ClientHandle]
				if value, err := text(item.Value, points[name].typ); err == nil { // reading it tells the error
					changed(name, value)
				}
			}
		}
	}
}

// closeTimeout bounds what Close and the end of Subscribe still ask of the server.
const closeTimeout = time.Second

// unsubscribe ends a subscription. It drops what the library still sends meanwhile.
func (d *driver) unsubscribe(ctx context.Context, sub *opcua.Subscription, notifications <-chan *opcua.PublishNotificationData) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = sub.Cancel(ctx) // it ends with the connection at the latest
	}()
	for {
		select {
		case <-notifications:
		case <-ended:
			return
		}
	}
}

// Close ends the session and the connection.
func (d *driver) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout) // Close has no context
	defer cancel()
	return ignoreClosed(d.client.Close(ctx))
}
