package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// firstMessage is how long a reading waits for the first message of its topic: a retained one
// comes at once.
const firstMessage = time.Second

// driver is the device.Driver of one MQTT device.
type driver struct {
	connection
	session *session
	points  device.Visitors[*point]
}

var _ device.Subscriber = (*driver)(nil)

// Open connects to the broker, subscribes, and asks for the values if the device wants that.
func (d *driver) Open(ctx context.Context, dev device.Instance) error {
	d.connection = connection{}
	if err := dev.Spec.Protocol.Config.Decode(&d.connection); err != nil {
		return err
	}
	if err := d.check(); err != nil {
		return fmt.Errorf("protocol.configData: %w", err)
	}
	d.points = device.NewVisitors(dev, func(p schema.Property) (*point, error) { return newPoint(&dev, &d.connection, p) })
	topics := []string{d.Topic}
	if d.AvailabilityTopic != "" {
		topics = append(topics, d.AvailabilityTopic)
	}
	for _, p := range d.points.All() {
		if !slices.Contains(topics, p.Topic) {
			topics = append(topics, p.Topic)
		}
	}
	s, err := connect(ctx, &d.connection, topics)
	if err != nil {
		return err
	}
	if d.GetTopic != "" {
		if err := s.publish(ctx, d.GetTopic, []byte(d.GetPayload)); err != nil {
			return errors.Join(err, s.close())
		}
	}
	d.session = s
	return nil
}

// Read returns the value that the device has sent last.
func (d *driver) Read(ctx context.Context, property string) (string, error) {
	p, err := d.points.Of(property)
	if err != nil {
		return "", err
	}
	if err := d.session.lost(); err != nil {
		return "", err
	}
	if d.AvailabilityTopic != "" {
		if m, ok, _ := d.session.get(d.AvailabilityTopic); ok && !online(m.payload) {
			return "", fmt.Errorf("the device is offline, as the topic %s says", d.AvailabilityTopic)
		}
	}
	m, err := d.session.wait(ctx, p.Topic, time.Time{}, firstMessage)
	switch {
	case err != nil:
		return "", err
	case !d.fresh(m.at, time.Now()):
		return "", fmt.Errorf("the last message at the topic %s is of %s: older than maxAge", p.Topic, m.at.UTC().Format(time.RFC3339))
	}
	return p.value(m.payload)
}

// Write publishes the command and waits a moment for the device's own message, so that the
// value that is read back is the new one.
func (d *driver) Write(ctx context.Context, property, value string) error {
	p, err := d.points.Of(property)
	if err != nil {
		return err
	}
	payload, err := p.command(value)
	if err != nil {
		return fmt.Errorf("property %s: %w", property, err)
	}
	began := time.Now()
	if err := d.session.publish(ctx, p.CommandTopic, payload); err != nil {
		return err
	}
	d.confirm(ctx, p, began, value)
	return d.session.lost()
}

// confirm waits until the device sends the value, but not for long: it may send another, or
// nothing. What is read back then says whether it was taken.
func (d *driver) confirm(ctx context.Context, p *point, since time.Time, value string) {
	most := time.Duration(d.Confirm) * time.Millisecond
	for end := time.Now().Add(most); ; {
		m, err := d.session.wait(ctx, p.Topic, since, time.Until(end))
		if err != nil {
			return
		}
		if got, err := p.value(m.payload); err == nil && got == value {
			return
		}
		since = m.at // an older message was on its way
	}
}

// Subscribe gives each property of a message that has arrived.
func (d *driver) Subscribe(ctx context.Context, changed func(property, value string)) error {
	given := make(map[string]time.Time) // of the last message of each topic
	for {
		_, _, arrived := d.session.get("")
		now := make(map[string]time.Time)
		for name, p := range d.points.All() {
			m, ok, _ := d.session.get(p.Topic)
			if !ok || !m.at.After(given[p.Topic]) {
				continue
			}
			now[p.Topic] = m.at
			if value, err := p.value(m.payload); err == nil { // a message may lack a property
				changed(name, value)
			}
		}
		for topic, at := range now {
			given[topic] = at
		}
		select {
		case <-arrived:
		case <-d.session.ended:
			return d.session.lost()
		case <-ctx.Done():
			return nil
		}
	}
}

// Close ends the connection.
func (d *driver) Close() error { return d.session.close() }
