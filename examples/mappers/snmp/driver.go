package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gosnmp/gosnmp"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// driver is the device.Driver of one SNMP agent.
type driver struct {
	client *gosnmp.GoSNMP
	points device.Visitors[*point]
}

var _ device.BatchReader = (*driver)(nil)

// Open reads the settings and makes a socket. UDP has no connection: what does not answer
// fails at the first reading.
func (d *driver) Open(_ context.Context, dev device.Instance) error {
	var c connection
	if err := dev.Spec.Protocol.Config.Decode(&c); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return fmt.Errorf("protocol.configData: %w", err)
	}
	d.points = device.NewVisitors(dev, func(p schema.Property) (*point, error) { return newPoint(&dev, p) })
	if err := client.Connect(); err != nil {
		return err
	}
	d.client = client
	return nil
}

// Read reads one property.
func (d *driver) Read(ctx context.Context, property string) (string, error) {
	r, err := device.ReadOne(ctx, d, property)
	return r.Value, err
}

// ReadMany reads properties with few requests. When the agent does not answer one, the rest is
// not tried.
func (d *driver) ReadMany(ctx context.Context, properties []string) (map[string]device.Reading, error) {
	readings := make(map[string]device.Reading, len(properties))
	var names []string
	var points []*point
	for _, name := range properties {
		if p, err := d.points.Of(name); err != nil {
			readings[name] = device.Reading{Err: err}
		} else {
			names, points = append(names, name), append(points, p)
		}
	}
	for first := true; len(points) > 0; first = false {
		n := min(d.client.MaxOids, len(points))
		if err := d.readSome(ctx, names[:n], points[:n], readings); err != nil {
			if first {
				return nil, err
			}
			break
		}
		names, points = names[n:], points[n:]
	}
	return readings, nil
}

// readSome makes one request.
func (d *driver) readSome(ctx context.Context, names []string, points []*point, readings map[string]device.Reading) error {
	var oids []string
	for _, p := range points {
		oids = append(oids, p.OID)
	}
	d.client.Context = ctx
	answer, err := d.client.Get(oids)
	switch {
	case err != nil:
		return err
	case answer.Error != gosnmp.NoError:
		return fmt.Errorf("the agent answered %s", answer.Error)
	case len(answer.Variables) != len(oids):
		return fmt.Errorf("the agent answered %d variables, want %d", len(answer.Variables), len(oids))
	}
	for n, v := range answer.Variables {
		var r device.Reading
		if v.Name != oids[n] {
			r.Err = fmt.Errorf("the agent answered %.80s, want %s", v.Name, oids[n])
		} else {
			r.Value, r.Err = points[n].text(v)
		}
		readings[names[n]] = r
	}
	return nil
}

// Write sets a property.
func (d *driver) Write(ctx context.Context, property, value string) error {
	p, err := d.points.Of(property)
	if err != nil {
		return err
	}
	v, err := p.variable(value)
	if err != nil {
		return fmt.Errorf("property %s: %w", property, err)
	}
	d.client.Context = ctx
	answer, err := d.client.Set([]gosnmp.SnmpPDU{v})
	if err == nil && answer.Error != gosnmp.NoError {
		err = fmt.Errorf("the agent answered %s", answer.Error)
	}
	return err
}

// Close closes the socket.
func (d *driver) Close() error {
	if d.client.Conn == nil {
		return errors.New("the socket is gone")
	}
	return d.client.Conn.Close()
}
