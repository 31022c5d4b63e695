package devicespec

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
)

// Declare returns the twin.Put for a device. The spec takes defaults from the
// model. Each property of the spec becomes a twin with the property's type in the
// model. The desired values move from the spec to the twins. The caller may set
// the Member's Owner, Incarnation and Version.
func Declare(spec schema.DeviceSpec, model schema.DeviceModelSpec) (twin.Put, error) {
	full, err := spec.WithDefaults(model)
	if err != nil {
		return twin.Put{}, fmt.Errorf("twin/devicespec: %w", err)
	}
	put := twin.Put{Properties: make([]twin.Declaration, 0, len(full.Properties))}
	for i := range full.Properties {
		p := &full.Properties[i]
		d := twin.Declaration{Name: p.Name, Type: twinType(model.Property(p.Name))}
		if p.Desired != nil {
			d.Desired = twin.Text(p.Desired.Value)
			p.Desired = nil
		}
		put.Properties = append(put.Properties, d)
	}
	if put.Member.Spec, err = json.Marshal(full); err != nil {
		return twin.Put{}, fmt.Errorf("twin/devicespec: spec: %w", err)
	}
	if put.Member.Model, err = json.Marshal(model); err != nil {
		return twin.Put{}, fmt.Errorf("twin/devicespec: model: %w", err)
	}
	return put, nil
}

// twinType returns the twin's name of a property's type.
func twinType(p *schema.ModelProperty) string {
	if p == nil || p.Type == "" {
		return "string"
	}
	return strings.ToLower(string(p.Type))
}

// Instance returns the device that Declare described, with the desired values that
// it has now. A device that was put without a spec has an empty one.
func Instance(d twin.Device) (device.Instance, error) {
	dev := device.Instance{ID: d.ID, Desired: make(map[string]string)}
	if len(d.Member.Spec) > 0 {
		if err := jsonlimit.Unmarshal(d.Member.Spec, &dev.Spec); err != nil {
			return dev, fmt.Errorf("twin/devicespec: spec of %s: %w", d.ID, err)
		}
	}
	if len(d.Member.Model) > 0 {
		if err := jsonlimit.Unmarshal(d.Member.Model, &dev.Model); err != nil {
			return dev, fmt.Errorf("twin/devicespec: model of %s: %w", d.ID, err)
		}
	}
	for name, t := range d.Twins {
		if !t.Deleted && t.Expected != nil && t.Expected.Value != "" {
			dev.Desired[name] = t.Expected.Value
		}
	}
	return dev, nil
}
