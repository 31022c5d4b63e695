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
	points map[string]*point
	bad    map[string]error // properties without a usable visitor
}

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
	d.client, d.points, d.bad = client, make(map[string]*point), make(map[string]error)
	for _, p := range dev.Spec.Properties {
		if pt, err := newPoint(&dev, p); err != nil {
			d.bad[p.Name] = err
		} else {
			d.points[p.Name] = pt
		}
	}
	return nil
}

// Read reads one property.
func (d *driver) Read(ctx context.Context, property string) (string, error) {
	p, err := d.point(property)
	if err != nil {
		return "", err
	}
	answer, err := d.request(ctx, d.client, http.MethodGet, p.Path, nil)
	if err != nil {
		return "", err
	}
	return p.value(answer)
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
