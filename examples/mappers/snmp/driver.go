package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gosnmp/gosnmp"

	"github.com/edgekit/edgekit/device"
)

// driver is the device.Driver of one SNMP agent.
type driver struct {
	client *gosnmp.GoSNMP
	points map[string]*point
	bad    map[string]error // properties without a usable visitor
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
	d.points, d.bad = make(map[string]*point), make(map[string]error)
	for _, p := range dev.Spec.Properties {
		if pt, err := newPoint(&dev, p); err != nil {
			d.bad[p.Name] = err
		} else {
			d.points[p.Name] = pt
		}
	}
	if err := client.Connect(); err != nil {
		return err
	}
	d.client = client
	return nil
}

// Read reads one property.
func (d *driver) Read(ctx context.Context, property string) (string, error) {
	readings, err := d.ReadMany(ctx, []string{property})
	if err != nil {
		return "", err
	}
	return readings[property].Value, readings[property].Err
}

// ReadMany reads properties with few requests. When the agent does not answer one, the rest is
// not tried.
func (d *driver) ReadMany(ctx context.Context, properties []string) (map[string]device.Reading, error) {
	readings := make(map[string]device.Reading, len(properties))
	var names, oids []string
	for _, name := range properties {
		if p, err := d.point(name); err != nil {
			readings[name] = device.Reading{Err: err}
		} else {
			names, oids = append(names, name), append(oids, p.OID)
		}
	}
	for first := true; len(oids) > 0; first = false {
		n := min(d.client.MaxOids, len(oids))
		if err := d.readSome(ctx, names[:n], oids[:n], readings); err != nil {
			if first {
				return nil, err
			}
			break
		}
		names, oids = names[n:], oids[n:]
	}
	return readings, nil
}

// readSome makes one request.
func (d *driver) readSome(ctx context.Context, names, oids []string, readings map[string]device.Reading) error {
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
			r.Value, r.Err = d.points[names[n]].text(v)
		}
		readings[names[n]] = r
	}
	return nil
}

func (d *driver) point(property string) (*point, error) {
	if err := d.bad[property]; err != nil {
		return nil, err
	}
	if p := d.points[property]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("the device has no property %q", property)
}

// Write sets a property.
func (d *driver) Write(ctx context.Context, property, value string) error {
	p, err := d.point(property)
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
