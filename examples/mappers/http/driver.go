package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/jsonpath"
)

// driver is the device.Driver of one HTTP device.
type driver struct {
	connection
	client *http.Client
	points device.Visitors[*point]
}

var _ device.BatchReader = (*driver)(nil)

// Open reads the settings. HTTP has no connection to open: what does not answer fails at the
// first reading.
func (d *driver) Open(_ context.Context, dev device.Instance) error {
	d.connection = connection{}
	if err := dev.Spec.Protocol.Config.Decode(&d.connection); err != nil {
		return err
	}
	client, err := d.connection.client()
	if err != nil {
		return fmt.Errorf("protocol.configData: %w", err)
	}
	d.client = client
	d.points = device.NewVisitors(dev, func(p schema.Property) (*point, error) { return newPoint(&dev, p) })
	return nil
}

// Read reads one property.
func (d *driver) Read(ctx context.Context, property string) (string, error) {
	r, err := device.ReadOne(ctx, d, property)
	return r.Value, err
}

// ReadMany makes one request for all properties of a path.
func (d *driver) ReadMany(ctx context.Context, properties []string) (map[string]device.Reading, error) {
	readings, byPath := make(map[string]device.Reading, len(properties)), make(map[string]map[string]*point)
	var paths []string
	for _, name := range properties {
		p, err := d.points.Of(name)
		if err != nil {
			readings[name] = device.Reading{Err: err}
			continue
		}
		if byPath[p.Path] == nil {
			paths, byPath[p.Path] = append(paths, p.Path), make(map[string]*point)
		}
		byPath[p.Path][name] = p
	}
	for _, path := range paths {
		answer, err := d.request(ctx, d.client, http.MethodGet, path, nil)
		for name, p := range byPath[path] {
			r := device.Reading{Err: err}
			if err == nil {
				r.Value, r.Err = p.value(answer)
			}
			readings[name] = r
		}
		if ctx.Err() != nil {
			break
		}
	}
	return readings, nil
}

// value finds the property in an answer.
func (p *point) value(answer []byte) (string, error) {
	v, err := jsonpath.Decode(answer)
	if err != nil {
		if p.whole && p.typ != schema.TypeBytes {
			return strings.TrimSpace(strings.ToValidUTF8(string(answer), "\uFFFD")), nil // plain text
		}
		return "", err
	}
	return p.path.Text(v, p.typ)
}

// Write sets a property.
func (d *driver) Write(ctx context.Context, property, value string) error {
	p, err := d.points.Of(property)
	if err != nil {
		return err
	}
	body, err := p.body(value)
	if err != nil {
		return fmt.Errorf("property %s: %w", property, err)
	}
	_, err = d.request(ctx, d.client, p.WriteMethod, p.target, body)
	return err
}

// Close frees the connections.
func (d *driver) Close() error {
	d.client.CloseIdleConnections()
	return nil
}
